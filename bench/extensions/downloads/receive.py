"""Download one file: continue an interrupted download, and compare size and hash before the file gets its name."""

import re
from pathlib import Path
from typing import Any

from bench.extensions.downloads.sources import RemoteFile
from harmonize.disk_space import DiskFullError
from harmonize.errors import DatasetError, SetupError
from harmonize.progress import Progress

TIMEOUT_S = (30, 120)  # to connect, and between two chunks
CHUNK = 1 << 16  # bytes; an interruption loses at most one chunk
_BEGINNINGS = {".zip": b"PK", ".tgz": b"\x1f\x8b", ".gz": b"\x1f\x8b"}
_AGAIN = "run the same command again: it continues where it stopped"


def receive(file: RemoteFile, folder: Path, known_sha256: str, progress: Progress) -> Path:
    """Download a file into a folder; return its path. A complete file with the known hash is not downloaded again.

    An interrupted download stays as NAME.part, and the next call continues it. After any other error, nothing stays.
    `known_sha256`: "" accepts any content of the right size.
    Raises SetupError if the server does not answer or stops; DatasetError for a web page, another size or another hash;
    DiskFullError.
    """
    import pooch

    part = folder / f"{file.local_name}.part"

    def complete(_url: str, output: str, _pooch: Any) -> None:
        _complete(file, part, progress)
        part.replace(output)

    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            file.url,
            known_hash=f"sha256:{known_sha256}" if known_sha256 else None,
            fname=file.local_name,
            path=folder,
            downloader=complete,
        )
    except ValueError as error:
        what = f"the SHA-256 of the downloaded file is not {known_sha256}; the download was deleted"
        fix = "download again; if this happens again, the owner may have changed the file: look at the owner's page"
        raise DatasetError(what, file.url, fix) from error
    except OSError as error:
        if full := DiskFullError.of(error, part, file.size):
            part.unlink(missing_ok=True)
            raise full from error
        raise
    return Path(path)


def _complete(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Add to `part` the bytes that are missing, until the file is complete. See `receive` for the errors."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if have == file.size:
                    return
                part.unlink()
                raise SetupError("the interrupted download is longer than the file", file.url, "run the command again")
            answer.raise_for_status()
            continues = answer.status_code == requests.codes.partial_content
            have = have if continues else 0
            total = _total(answer.headers, have)
            _check_size(file, total, part)
            with part.open("ab" if continues else "wb") as stream:
                for chunk in answer.iter_content(CHUNK):
                    if not have:
                        _check_beginning(file, chunk, part)
                    stream.write(chunk)
                    have += len(chunk)
                    progress(f"download {file.local_name}, MB", have // 1_000_000, max(have, total) // 1_000_000)
    except requests.RequestException as error:
        what = f"the server does not answer, or stopped: {type(error).__name__}"
        if error.response is not None:
            what = f"the server answers {error.response.status_code} {error.response.reason}"
        raise SetupError(what, file.url, _AGAIN) from error
    if total and have < total:
        raise SetupError(f"the download ended after {have:,} of {total:,} bytes", file.url, _AGAIN)
    _check_size(file, have, part)


def _total(headers: Any, have: int) -> int:
    """Return the size of the complete file that the server states; 0 if it states none."""
    if whole := re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "")):
        return int(whole[1])
    return have + int(headers["Content-Length"]) if "Content-Length" in headers else 0


def _check_size(file: RemoteFile, size: int, part: Path) -> None:
    """Delete `part` and raise DatasetError if `size` is known and differs from the published size."""
    if file.size and size and size != file.size:
        part.unlink(missing_ok=True)
        what = f"the file has {size:,} bytes; {file.size:,} are published"
        raise DatasetError(what, file.url, "look at the owner's page: the file may have moved or changed")


def _check_beginning(file: RemoteFile, chunk: bytes, part: Path) -> None:
    """Delete `part` and raise DatasetError if the first bytes are those of a web page, or not those of the file's format."""
    text = chunk[:200].lstrip().lower()
    is_page = text.startswith((b"<!doctype", b"<html"))
    if is_page or not chunk.startswith(_BEGINNINGS.get(Path(file.local_name).suffix, b"")):
        part.unlink(missing_ok=True)
        what = f"the server sent {'a web page' if is_page else 'something else'} in place of {file.local_name}"
        raise DatasetError(what, file.url, "open the address in a browser, or use the owner's page")
