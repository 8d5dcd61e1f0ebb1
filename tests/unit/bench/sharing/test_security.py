"""Attacks with untrusted files, which must have no effect. Each row of the table in SECURITY.md names its test, here or elsewhere."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from safetensors.numpy import save_file

from bench.models.network import _read as read_weights
from bench.planning.manifest import read_manifest
from bench.planning.stored_names import find_run
from bench.runs.new_images import load
from bench.store.safe_csv import csv_text
from bench.store.store import Store, canonical_json, short_hash, write_bytes
from harmonize.cohorts.dicom_demographics import read_people
from harmonize.cohorts.specs import read_data
from harmonize.errors import ConfigError, CxrError, StoreError
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import read_gray
from harmonize.yaml_file import parse_yaml

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch owned']",
        "a: !!python/name:os.system",
        "a: !!python/object/new:subprocess.Popen [['touch', 'owned']]",
        "!!python/module:os",
        "a: !custom 1",
    ],
)
def test_yaml_tags_create_no_objects(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        parse_yaml(text, "here")
    assert not list(tmp_path.iterdir())


def dicom(syntax: str, pixels: bytes) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    meta.TransferSyntaxUID = syntax
    data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows = data.Columns = 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.SamplesPerPixel, data.PixelRepresentation = 16, 16, 15, 1, 0
    data.PhotometricInterpretation, data.PixelData = "MONOCHROME2", pixels
    data.SOPClassUID, data.SOPInstanceUID, data.PatientSex = meta.MediaStorageSOPClassUID, "1.2.3", "F"
    content = io.BytesIO()
    data.save_as(content, enforce_file_format=True)
    return content.getvalue()


READ_DICOM = """
import resource, sys
from pathlib import Path
from harmonize.cohorts.dicom_demographics import read_people
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import read_gray
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = Path(sys.argv[1])
read_people([path])
try:
    read_gray(path)
except UnreadableImage as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_a_deflated_dicom_is_not_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm"
    path.write_bytes(dicom(DeflatedExplicitVRLittleEndian, bytes(300_000_000)))
    assert path.stat().st_size < 1_000_000
    command = [sys.executable, "-c", READ_DICOM, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    reason, megabytes = output.strip().splitlines()
    assert "deflated DICOM" in reason
    assert int(megabytes) < 200


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def oversized(kind: str) -> bytes:
    """Return an image file whose header states more data than the file has, or an image too large for memory."""
    plain = bytearray(dicom(ExplicitVRLittleEndian, bytes(8)))
    if kind == "png size":
        return png(60_000, 60_000, b"\0")
    if kind == "png chunk":
        return png(2, 2, bytes(6))[:8] + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(20)
    if kind == "jpeg size":
        frame = b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 65535, 65535) + b"\x01\x01\x11\x00"
        return b"\xff\xd8" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\xff\xd9"
    for tag in (b"\x28\x00\x10\x00US", b"\x28\x00\x11\x00US") if kind == "dicom size" else ():
        at = plain.index(tag)
        plain[at + 8 : at + 10] = b"\xff\xff"
    if kind == "dicom frames":
        at = plain.index(b"\x28\x00\x10\x00US")
        plain[at:at] = b"\x28\x00\x08\x00IS\x0a\x00" + b"1000000000"
    return bytes(plain)


@pytest.mark.parametrize("kind", ["png size", "png chunk", "jpeg size", "dicom size", "dicom frames"])
def test_images_with_oversized_headers_are_unreadable(kind: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(oversized(kind))
    with pytest.raises(UnreadableImage):
        read_gray(tmp_path / "image")


def test_a_png_with_more_data_than_its_header_states_gives_only_the_stated_pixels(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(png(16, 16, bytes(50_000_000)))
    assert read_gray(tmp_path / "image.png").shape == (16, 16)  # the extra 50 million bytes are not kept


@pytest.mark.parametrize("length", [2**63 - 1, 2**40, 10**8, 0])
def test_weights_with_an_oversized_header_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path)
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(CxrError):
        read_weights(path)


def test_formulas_in_csv_cells_are_escaped_and_numbers_are_not() -> None:
    cells = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "-1.5", "+3", "1e-3", "plain", ""]
    text = csv_text(pd.DataFrame({"=name": cells, "value": np.arange(len(cells)) - 5.0}))
    read = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert list(read.columns) == ["'=name", "value"]
    assert read.iloc[:6, 0].tolist() == [f"'{cell}" for cell in cells[:6]]
    assert read.iloc[6:9, 0].tolist() == cells[6:9]
    assert csv_text(pd.DataFrame({"a": ["x\r=1", ";=1", "a; @x;-b"]})) == "a\nx =1\n;'=1\na; '@x;-b\n"
    for hidden in (
        "  =1",
        "\u00a0=1",
        "\u3000@x",
        "\n=1",
        " \t=1",
        "\ufeff=1",
        "\u200b+x",
        "\uff1dx",
        " \uff0bx",
        "\tx",
    ):
        [cell] = pd.read_csv(io.StringIO(csv_text(pd.DataFrame({"a": [hidden]}))), dtype=str, skip_blank_lines=False)[
            "a"
        ]
        assert cell == f"'{hidden}"
    assert read["value"].astype(float).tolist() == (np.arange(len(cells)) - 5.0).tolist()


@pytest.mark.parametrize("name", ["../up", "/root", "a/b", "..", ".hidden", "<script>", "a b", ""])
def test_cohort_names_that_could_leave_the_store_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(json.dumps({name: {"layout": "nih", "root": "."}}))
    with pytest.raises(ConfigError):
        read_data(tmp_path / "data.yaml")


def test_run_and_grid_names_cannot_reach_files_outside_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    write_bytes(tmp_path / "secret.json", b'{"schema": 1}')
    write_bytes(tmp_path / "ab" / "run.json", b"{}")
    for name in ("../secret", "../../secret", str(tmp_path / "secret"), "..", ""):
        with pytest.raises(StoreError):
            read_manifest(store, name)
        with pytest.raises(StoreError):
            find_run(store, name)


def test_code_that_run_json_names_is_not_imported_for_a_run_without_weights(tmp_path: Path) -> None:
    """A bundle may contain any run.json; the code that it names must not run."""
    (tmp_path / "loud.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    sys.path.insert(0, str(tmp_path))
    try:
        store = Store.open(tmp_path / "runs")
        entry = {"use": "loud:network", "version": 1, "with": {}}
        names = ("architecture", "augmentation", "loss", "optimizer", "preprocessing", "uncertainty", "weights")
        config = {"architecture": "x", "loss": "x", "optimizer": "x", "preprocessing": "x", "uncertainty": "x"}
        config |= {"train_on": "chexpert", "augmentation": "x", "schedule": {"epochs": 1}}
        document = canonical_json(
            {"schema": 1, "config": config, "entries": dict.fromkeys(names, entry), "internal": "h", "weights": "none"}
        )
        folder = store.begin(short_hash(document), document)
        (folder / "DONE").touch()
        with pytest.raises(StoreError, match="its weights are missing"):
            load(store, folder.name)
    finally:
        sys.path.remove(str(tmp_path))
    assert not (tmp_path / "owned").exists()


def test_a_file_that_is_not_dicom_gives_no_demographics(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(os.urandom(200))
    assert read_people([tmp_path / "x.dcm"])["sex"].tolist() == [""]
