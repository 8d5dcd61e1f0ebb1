"""Tests of damages to DICOM headers, image files and YAML files, drawn by code: each is undone, named or refused."""

import io
import random
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pictures import save_dicom
from test_table_layout import MAPPING

from bench.config.grid import Grid
from bench.config.registry import Registry
from harmonize.checks.frontal_view import wrong_views
from harmonize.checks.non_cxr_checks import unlike_radiograph
from harmonize.cohorts.specs import read_data
from harmonize.datasets.mapping import read_mapping
from harmonize.errors import CxrError
from harmonize.images.image_header import InMemory, UnreadableImage
from harmonize.images.perceptual_hash import smaller, thumbnail
from harmonize.images.pixels import read_radiograph
from harmonize.phantom import PhantomSettings
from harmonize.phantom.radiograph import twin

ALIKE = 0.98  # correlation of the gray values with those of the undamaged file
ELEMENTS: dict[str, tuple[object, ...]] = {
    "PixelData": (None, b"", b"\0" * 100),
    "PhotometricInterpretation": ("MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "", "monochrome2", "MONOCHROME 1", None),
    "PresentationLUTShape": ("INVERSE", "IDENTITY", "", "inverse"),
    "BitsStored": (0, 1, 4, 8, 9, 10, 11, 13, 16, 32, None),
    "HighBit": (0, 7, 10, 15, 31, None),
    "BitsAllocated": (1, 8, 12, 24, 32, 0, None),
    "PixelRepresentation": (1, 2, None),
    "Rows": (0, 1, 57, 96, 120, 193, 384, 65535, None),
    "Columns": (0, 1, 80, 159, 161, 320, 65535, None),
    "SamplesPerPixel": (0, 2, 3, 4, None),
    "NumberOfFrames": (0, 2, 3, 1000, -1),
    "RescaleSlope": (-1, 0, 1e-9, 1e30, 1.01, None),
    "RescaleIntercept": (-1e9, 1e30, -32768, None),
    "WindowCenter": (-5000, -1000, 1e9, 2000, None),
    "WindowWidth": (0, 1, 2, -4096, 1e9, 70000),
    "VOILUTFunction": ("SIGMOID", "LINEAR_EXACT", "CUBIC"),
    "PixelAspectRatio": ([1, 2], [2, 1], [1, 1], [0, 0]),
    "PixelSpacing": ([0.1, 0.2], [0.14, 0.14], [0, 0], "a"),
    "Modality": ("CT", "MR", "SR", "DX", "PR"),
    "BodyPartExamined": ("HAND", "ABDOMEN", "CHEST", "thorax"),
    "ViewPosition": ("LL", "PA", "lateral", "RL"),
    "PatientOrientation": (["R", "F"], ["L", "H"], ["A", "F"], ["L", "F"], ["F", "L"]),
    "SeriesDescription": ("CHEST LAT", "Thorax seitlich", "CHEST PA"),
    "PresentationIntentType": ("FOR PROCESSING", "FOR PRESENTATION"),
}  # fmt: skip


@cache
def radiograph() -> NDArray[np.uint16]:
    """Return a radiograph of a phantom with 12 bits, 192 x 160 pixels."""
    image = cv2.resize(twin(PhantomSettings(size=256), "nih", 3, token=False).image, (160, 192))
    return np.round(np.clip(image, 0, 1) * 4000 + 50).astype(np.uint16)


def gray() -> NDArray[np.uint8]:
    return (radiograph() / 16).astype(np.uint8)


def is_silent(content: bytes, expected: NDArray[np.uint8]) -> bool:
    """Return whether a file is read, gets no remark, and has other gray values than expected."""
    file = InMemory("a", content)
    try:
        image = read_radiograph(file)
    except UnreadableImage:
        return False
    if unlike_radiograph(file, image) or wrong_views(smaller(thumbnail(image)[None]))[0]:
        return False
    return image.shape != expected.shape or bool(np.corrcoef(image.ravel(), expected.ravel())[0, 1] < ALIKE)


def with_element(path: Path, name: str, value: object) -> bytes:
    """Return a DICOM file in which an element has another value, or is missing (None)."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path)
        if value is None:
            del data[name]
        elif value == "a":
            data.add_new(name, "LO", value)
        else:
            setattr(data, name, value)
        data.save_as(out)
    return out.getvalue()


def test_changed_elements_of_dicom_files_are_named_or_change_nothing(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "a.dcm", radiograph(), Modality="DX", BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096,
                      RescaleSlope=1, RescaleIntercept=0)  # fmt: skip
    expected = read_radiograph(path)
    assert not is_silent(path.read_bytes(), expected)
    assert unlike_radiograph(path, expected) == []
    damages = [(name, value) for name, values in ELEMENTS.items() for value in values]
    assert [damage for damage in damages if is_silent(with_element(path, *damage), expected)] == []


def with_rows(image: NDArray[Any], missing: slice, value: float = 0) -> NDArray[Any]:
    image = image.copy()
    image[missing] = value
    return image


PIXELS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "inverted": lambda image: image.max() - image,
    "upside down": lambda image: image[::-1],
    "turned": np.rot90,
    "the lower half is missing": lambda image: with_rows(image, slice(96, None)),
    "the upper half is missing": lambda image: with_rows(image, slice(96)),
    "the lower half is white": lambda image: with_rows(image, slice(96, None), image.max()),
    "other row length": lambda image: image.reshape(image.shape[::-1]),
    "one gray level": lambda image: np.full_like(image, 100),
    "two gray levels": lambda image: (image > np.median(image)).astype(image.dtype),
    "four gray levels": lambda image: (image // (image.max() // 4 + 1)).astype(image.dtype),
    "exchanged bytes": lambda image: image.byteswap(),
    "lowest bits only": lambda image: (image & 15).astype(image.dtype),
    "wrapped": lambda image: (image * np.array(4, image.dtype)).astype(image.dtype),
    "noise": lambda image: np.random.default_rng(0).integers(0, 255, image.shape).astype(image.dtype),
    "rows exchanged": lambda image: np.roll(image, len(image) // 2, axis=0),
}  # fmt: skip
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "a text": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
    "a login page": lambda _: b"<!DOCTYPE html><html>login</html>",
    "a bitmap": lambda _: cv2.imencode(".bmp", gray())[1].tobytes(),
    "a TIFF": lambda _: cv2.imencode(".tif", gray())[1].tobytes(),
    "zeros": lambda content: bytes(len(content)),
    "zeros at the end": lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
    "zeros in the middle": lambda content: content[: len(content) // 3] + bytes(len(content) // 4) + content[len(content) // 3 + len(content) // 4 :],
    "another transfer syntax": lambda content: content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"),
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "line ends of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "as text": lambda content: content.decode("latin-1").encode(),
    "as text with losses": lambda content: content.decode("utf-8", "replace").encode(),
    "twice": lambda content: content * 2,
    "bytes after the end": lambda content: content + b"0" * 1000,
    "a part repeated": lambda content: content[: len(content) // 2] + content[len(content) // 3 :],
    "a part left out": lambda content: content[: len(content) // 2] + content[len(content) * 2 // 3 :],
} | {f"first {share} %": lambda content, share=share: content[: len(content) * share // 100] for share in (1, 10, 40, 70, 95, 99)}  # fmt: skip
FORMATS = (".png", ".jpg", "16 bits", ".dcm")


def encoded(image: NDArray[Any], form: str, folder: Path) -> bytes:
    image = np.ascontiguousarray(image)
    if form == ".dcm":
        return save_dicom(folder / "b.dcm", image, Modality="DX", BitsStored=12, HighBit=11).read_bytes()
    return bytes(cv2.imencode(".png" if form == "16 bits" else form, image)[1].tobytes())


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_image_files_are_named_or_read_as_before(form: str, tmp_path: Path) -> None:
    image = radiograph() if form in FORMATS[2:] else gray()
    content = encoded(image, form, tmp_path)
    expected = read_radiograph(InMemory("a", content))
    assert unlike_radiograph(InMemory("a", content), expected) == []
    damaged = {name: encoded(change(image), form, tmp_path) for name, change in PIXELS.items()}
    damaged |= {name: change(content) for name, change in BYTES.items()}
    chance = random.Random(form)
    for number in range(12):
        place = chance.randrange(100, len(content) - 60)
        damaged[f"an overwritten part, {number}"] = content[:place] + b"\xff" * 50 + content[place + 50 :]
    if form == ".jpg":  # JPEG has no checksums: a repeated part is a valid file
        del damaged["a part repeated"]
    assert [name for name, other in damaged.items() if is_silent(other, expected)] == []


DATA = """\
nih-mini: {layout: nih, root: packs/nih, limit: 30}
own: {layout: table, root: packs, table: metadata.csv, mapping: own.yaml, population: covid}
"""
GRID = (Path(__file__).parents[3] / "grids" / "tiny.yaml").read_text(encoding="utf-8")
REGISTRY = Registry.read()
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "data": (DATA, read_data),
    "mapping": (MAPPING, read_mapping),
    "grid": (GRID, lambda path: Grid.read(str(path), REGISTRY).configs),
}
TEXTS: dict[str, Callable[[str], bytes]] = {
    "Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "tabs": lambda text: text.replace("  ", "\t").encode(),
    "no-break spaces": lambda text: text.replace("  ", "\u00a0\u00a0").encode(),
    "other quotes": lambda text: text.replace('"', "\u201d").encode(),
    "wide colons": lambda text: text.replace(": ", "\uff1a ").encode(),
    "no spaces after colons": lambda text: text.replace(": ", ":").encode(),
    "equals signs": lambda text: text.replace(": ", " = ").encode(),
    "a merge conflict": lambda text: (text + "<<<<<<< HEAD\n").encode(),
    "two documents": lambda text: (text + "---\n" + text).encode(),
    "twice": lambda text: (text * 2).encode(),
    "upper case": lambda text: text.upper().encode(),
    "NUL": lambda text: text.replace(" ", "\0", 1).encode(),
    "empty": lambda _: b"",
    "a list": lambda text: ("- " + text.replace("\n", "\n  ").rstrip() + "\n").encode(),
    "half": lambda text: text[: len(text) // 2].encode(),
    "Latin-1": lambda text: (text + "# \u00fc").encode("latin-1"),
}
WORDS: dict[str, Callable[[str], str]] = {  # of a key or a value
    "a letter less": lambda word: word[:1] + word[2:],
    "upper case": str.upper,
    "a Cyrillic letter": lambda word: word.replace("a", "\u0430").replace("e", "\u0435"),
    "a zero-width space": lambda word: f"{word}\u200b",
    "a list": lambda word: f"[{word}]",
    "a number": lambda _: "7",
    "null": lambda _: "null",
    "yes": lambda _: "yes",
    "an alias": lambda word: f"*{word}",
    "a byte order mark": lambda word: f"\ufeff{word}",
    "an open quote": lambda word: f"'{word}",
}


def _yaml_damages(text: str, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    yield from ((name, change(text)) for name, change in TEXTS.items())
    words = list(re.finditer(r"\b(?!nih-mini|own|mini|modality)[A-Za-z][\w.-]*(?=:)", text))  # keys, except free names
    for name, change in WORDS.items():
        for word in chance.sample(words, 3):
            yield f"{name} in {word[0]}", (text[: word.start()] + change(word[0]) + text[word.end() :]).encode()
    lines = text.splitlines(keepends=True)
    for line in chance.sample(range(len(lines)), min(5, len(lines))):
        yield f"line {line} twice", "".join([*lines[: line + 1], *lines[line:]]).encode()
        yield f"line {line} moved right", "".join([*lines[:line], " " + lines[line], *lines[line + 1 :]]).encode()


@pytest.mark.parametrize("kind", READERS)
def test_damaged_yaml_files_are_refused_or_read_as_before(kind: str, tmp_path: Path) -> None:
    text, read = READERS[kind]
    path = tmp_path / f"{kind}.yaml"
    (tmp_path / "own.yaml").write_text(MAPPING)
    path.write_text(text)
    expected = read(path)
    silent = []
    for name, content in _yaml_damages(text, random.Random(kind)):
        path.write_bytes(content)
        try:
            if read(path) != expected:
                silent.append(name)
        except CxrError:
            continue
    assert silent == []
