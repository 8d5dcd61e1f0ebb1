"""`bench data get` from a local server: whole, truncated, exchanged and unsafe files."""

import errno
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.extensions.downloads import sources as module
from bench.extensions.downloads.receive import receive, unpack
from bench.extensions.downloads.sources import DownloadSource, RemoteFile, sources
from harmonize.datasets import PUBLISHED
from harmonize.disk_space import DiskFullError
from harmonize.errors import DatasetError, SetupError
from tests.conftest import Command


def zipped(files: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:gz") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


SET = zipped(
    {
        "Set/CXR_png/MCUCXR_0001_0.png": b"\x89PNG" * 40_000,
        "Set/ClinicalReadings/MCUCXR_0001_0.txt": b"Patient's Sex: F",
    }
    | {"__MACOSX/Set/._CXR_png": b"x"}
)
SHA256 = hashlib.sha256(SET).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`; what else it does, each test sets."""

    content = SET
    stop_after: int | None = None  # closes the connection after this number of bytes of an answer
    states_length = True
    status = 200
    asked: int

    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent about clients that leave."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/zip")
        if self.server.states_length:
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content[: self.server.stop_after])
        self.close_connection = True

    def log_message(self, *args: object) -> None:  # type: ignore[override]
        """Be silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = 0
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def file_of(server: Server, **facts: object) -> RemoteFile:
    return RemoteFile(url=f"http://127.0.0.1:{server.server_port}/set.zip", **({"top": "Set"} | facts))  # type: ignore[arg-type]


def offered(monkeypatch: pytest.MonkeyPatch, file: RemoteFile) -> None:
    """Offer the file as the dataset montgomery."""
    monkeypatch.setattr(module, "sources", lambda: {"montgomery": DownloadSource(page="https://owner", files=(file,))})


def quiet(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


UNPACKED = ["CXR_png/MCUCXR_0001_0.png", "ClinicalReadings/MCUCXR_0001_0.txt", "downloads.json"]


def test_a_dataset_is_downloaded_unpacked_and_recorded_and_a_second_call_downloads_nothing(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(monkeypatch, file_of(server, size=len(SET)))
    first = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path)
    assert "free for research with citation" in first.stdout
    assert "https://owner" in first.stdout
    assert names(tmp_path / "montgomery") == UNPACKED
    (facts,) = json.loads((tmp_path / "montgomery" / "downloads.json").read_text()).values()
    assert facts == {"size": len(SET), "sha256": SHA256, "path": "CXR_png/MCUCXR_0001_0.png"}
    second = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path)
    assert "has all files" in second.stdout
    assert server.asked == 1


def test_without_accept_nothing_is_downloaded_from_a_script(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(monkeypatch, file_of(server))
    refused = here("data", "get", "montgomery", str(tmp_path), cwd=tmp_path, code=2)
    assert "add --accept" in refused.stderr
    assert server.asked == 0
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing_and_is_repeated(server: Server, tmp_path: Path) -> None:
    server.stop_after = 100_000
    with pytest.raises(SetupError, match="does not answer, or stopped"):
        receive(file_of(server), tmp_path, SHA256, quiet)
    assert names(tmp_path) == []
    server.stop_after = None
    assert receive(file_of(server), tmp_path, SHA256, quiet).read_bytes() == SET


def test_a_truncated_file_without_a_stated_length_is_found_by_its_published_size(
    server: Server, tmp_path: Path
) -> None:
    server.states_length, server.stop_after = False, 5000
    with pytest.raises(DatasetError, match=f"the file has 5,000 bytes; {len(SET):,} are published"):
        receive(file_of(server, size=len(SET)), tmp_path, "", quiet)
    assert names(tmp_path) == []


def test_a_truncated_archive_without_size_and_hash_is_found_when_it_is_unpacked(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.states_length, server.stop_after = False, 150_000
    offered(monkeypatch, file_of(server))
    refused = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path, code=2)
    assert "the archive is damaged" in refused.stderr
    assert names(tmp_path) == []


@pytest.mark.parametrize("of", ["published", "recorded"])
def test_another_hash_than_the_published_or_recorded_one_is_refused_and_deleted(
    of: str, here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(monkeypatch, file_of(server, sha256="0" * 64 if of == "published" else ""))
    if of == "recorded":
        here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path)
        (tmp_path / "montgomery" / "CXR_png" / "MCUCXR_0001_0.png").unlink()
        server.content = zipped({"Set/CXR_png/MCUCXR_0001_0.png": b"\x89PNG other"})
    before = names(tmp_path)
    refused = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path, code=2)
    assert f"is not {SHA256 if of == 'recorded' else '0' * 64}" in refused.stderr
    assert names(tmp_path) == before


def test_another_size_than_the_published_one_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="9 are published"):
        receive(file_of(server, size=9), tmp_path, "", quiet)
    assert names(tmp_path) == []


def test_a_web_page_in_place_of_the_archive_is_refused(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = b"<!DOCTYPE html><html>Log in</html>"
    offered(monkeypatch, file_of(server))
    refused = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path, code=2)
    assert "may have sent a web page" in refused.stderr
    assert names(tmp_path) == []


def test_an_error_of_the_server_and_a_server_that_is_away_are_named(server: Server, tmp_path: Path) -> None:
    for status in (503, 404):
        server.status = status
        with pytest.raises(SetupError, match=f"the server answers {status}") as refused:
            receive(file_of(server), tmp_path, "", quiet)
        assert "look at the owner's page" in refused.value.fix
    with pytest.raises(SetupError, match="does not answer, or stopped: ConnectionError"):
        receive(RemoteFile(url="http://127.0.0.1:1/set.zip"), tmp_path, "", quiet)
    assert names(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_written(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError):
        receive(file_of(server), tmp_path, "", full)  # in place of the write of the first bytes
    assert names(tmp_path) == []
    offered(monkeypatch, file_of(server))
    monkeypatch.setattr("shutil.copyfileobj", full)
    refused = here("data", "get", "montgomery", str(tmp_path), "--accept", cwd=tmp_path, code=2)
    assert "No space left on device" in refused.stderr
    assert names(tmp_path) == []


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


UNSAFE = {
    "parent.tgz": tarred((tarfile.TarInfo("a.png"), b"a"), (tarfile.TarInfo("../evil.png"), b"b")),
    "link.tgz": tarred((tarfile.TarInfo("a.png"), b"a"), (link("b.png", tarfile.SYMTYPE), b"")),
    "hardlink.tgz": tarred((link("b.png", tarfile.LNKTYPE), b"")),
    "device.tgz": tarred((link("b.png", tarfile.CHRTYPE), b"")),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_with_an_unsafe_path_is_refused_and_nothing_is_unpacked(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(UNSAFE[name])
    with pytest.raises(DatasetError, match="the archive is damaged or unsafe"):
        unpack(tmp_path / name, tmp_path / "set")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("path", ["../../evil.png", "/tmp/evil.png"])
def test_an_unsafe_path_of_a_zip_is_written_inside_the_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({path: b"b"}))
    (written,) = unpack(tmp_path / "a.zip", tmp_path / "set")
    assert written.is_relative_to(tmp_path / "set")


def test_a_changed_byte_in_an_archive_is_found_by_its_checksum(tmp_path: Path) -> None:
    whole = tarred((tarfile.TarInfo("a.png"), bytes(range(256)) * 40))
    (tmp_path / "a.tgz").write_bytes(whole)
    assert unpack(tmp_path / "a.tgz", tmp_path / "good") == [tmp_path / "good" / "a.png"]
    (tmp_path / "b.tgz").write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    with pytest.raises(DatasetError, match="the archive is damaged"):
        unpack(tmp_path / "b.tgz", tmp_path / "bad")
    assert names(tmp_path) == ["a.tgz", "b.tgz", "good/a.png"]


def test_every_layout_has_a_source_and_every_download_is_of_an_open_dataset(here: Command, tmp_path: Path) -> None:
    assert tuple(sources()) == PUBLISHED
    open_sets = [name for name, source in sources().items() if source.files]
    assert open_sets == ["nih", "openi", "shenzhen", "montgomery", "guangzhou", "covid"]
    assert all(file.url.startswith("https://") for name in open_sets for file in sources()[name].files)
    printed = here("data", "get", "mimic", str(tmp_path), cwd=tmp_path).stdout
    assert "https://physionet.org/content/mimic-cxr-jpg/" in printed
    assert "credentialed account" in printed
    assert str(tmp_path / "mimic") in printed


PARTS = tuple(tarred((tarfile.TarInfo(f"images/0000000{k}_000.png"), b"x")) for k in (1, 2))


def test_a_release_in_parts_is_downloaded_by_parts(
    here: Command, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    files = tuple(
        RemoteFile(url=f"{address}/{k}.gz", name=f"images_00{k}.tar.gz", into=f"images_00{k}", part=k) for k in (1, 2)
    )
    monkeypatch.setattr(module, "sources", lambda: {"nih": DownloadSource(page="https://owner", files=files)})
    server.content = PARTS[0]
    said = here("data", "get", "nih", str(tmp_path), "--parts", "1", "--accept", cwd=tmp_path).stdout
    assert "doi:10.1109/CVPR.2017.369" in said
    assert names(tmp_path / "nih") == ["downloads.json", "images_001/images/00000001_000.png"]
    assert server.asked == 1
    for wrong in ("3", "0", "1-", "x", "1-99999999999"):
        assert (
            "has no parts" in here("data", "get", "nih", str(tmp_path), "--parts", wrong, cwd=tmp_path, code=2).stderr
        )
    server.content = PARTS[1]
    here("data", "get", "nih", str(tmp_path), "--parts", "1-2", "--accept", cwd=tmp_path)
    assert server.asked == 2


def test_an_unknown_dataset_is_refused_with_the_most_similar_name(here: Command, tmp_path: Path) -> None:
    assert "did you mean 'shenzhen'?" in here("data", "get", "shenzen", str(tmp_path), cwd=tmp_path, code=2).stderr
