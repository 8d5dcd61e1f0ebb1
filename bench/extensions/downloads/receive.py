"""Download one file and unpack it, completely or not at all."""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.extensions.downloads.sources import RemoteFile
from harmonize.disk_space import writing
from harmonize.errors import DatasetError, SetupError
from harmonize.progress import Progress

TIMEOUT_S = (30, 120)  # to connect, and between two chunks
CHUNK = 1 << 16  # bytes


class _Shown:
    """The progress of a download, with the attributes that pooch reads and calls."""

    total = 0  # bytes

    def __init__(self, name: str, progress: Progress) -> None:
        self.name, self.progress, self.done = name, progress, 0

    def update(self, number: int) -> None:
        """Add a number of bytes."""
        self.done += number
        self.progress(f"download {self.name}, MB", self.done // 1_000_000, max(self.done, self.total) // 1_000_000)

    def reset(self) -> None:
        """Count from zero again; pooch then adds the total."""
        self.done = 0

    def close(self) -> None:
        """Do nothing."""


def receive(file: RemoteFile, folder: Path, known_sha256: str, progress: Progress) -> Path:
    """Download a file into a folder; return its path. After an error, nothing stays.

    `known_sha256`: "" accepts any content of the right size.
    Raises SetupError if the server does not answer, stops or has no such file; DatasetError for another size or hash; DiskFullError.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    answers: list[requests.Response] = []
    downloader = pooch.HTTPDownloader(
        progressbar=_Shown(file.local_name, progress),
        chunk_size=CHUNK,
        timeout=TIMEOUT_S,
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    try:
        with writing(folder, file.size):
            known = f"sha256:{known_sha256}" if known_sha256 else None
            path = Path(pooch.retrieve(file.url, known, file.local_name, folder, downloader=downloader))
    except requests.RequestException as error:
        if error.response is None:
            what = f"the server does not answer, or stopped: {type(error).__name__}"
            raise SetupError(what, file.url, "run the same command again") from error
        what = f"the server answers {error.response.status_code} {error.response.reason}"
        fix = "run the same command later; if the file has moved, look at the owner's page, which the command prints"
        raise SetupError(what, file.url, fix) from error
    except ValueError as error:
        what = f"the SHA-256 of the downloaded file is not {known_sha256}; the download was deleted"
        fix = "download again; if this happens again, the owner may have changed the file: look at the owner's page"
        raise DatasetError(what, file.url, fix) from error
    finally:
        for answer in answers:  # pooch leaves the connection of a failed download open
            answer.close()
    if file.size and (found := path.stat().st_size) != file.size:
        path.unlink()
        what = f"the file has {found:,} bytes; {file.size:,} are published"
        raise DatasetError(what, file.url, "look at the owner's page: the file may have moved or changed")
    return path


def unpack(archive: Path, folder: Path, top: str = "") -> list[Path]:
    """Unpack the files of a zip or tgz archive into a folder; return their paths. `top`: a first folder that is left out.

    The files are written into a hidden folder first, and moved when all are there. Files that macOS adds are left out.
    Raises DatasetError for an archive that is damaged or empty, or that has a device, or a path or link outside; DiskFullError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unpacked", dir=folder) as hidden:
        try:
            with writing(folder):
                _extract(archive, hidden)
        except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            fix = "download it again, or open its address in a browser: the server may have sent a web page"
            raise DatasetError(f"the archive is damaged or unsafe: {error}", str(archive), fix) from error
        paths = []
        for path in sorted(Path(hidden).rglob("*")):
            parts = path.relative_to(hidden).parts
            of_macos = "__MACOSX" in parts or path.name.startswith(("._", ".DS_Store"))
            if path.is_file() and not of_macos:
                target = folder.joinpath(*parts[top != "" and parts[0] == top :])
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
                paths.append(target)
    if not paths:
        raise DatasetError("the archive is empty", str(archive), "download it again")
    return paths


def _extract(archive: Path, folder: str) -> None:
    """Extract an archive. Raises TarError for a link, a device or a path outside the folder; zipfile writes such paths inside."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)  # noqa: S202 # nosec B202
        return
    with gzip.open(archive) as whole:
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            tar.extractall(folder, filter="data")
        while whole.read(1 << 20):  # the checksum is at the end of the file
            pass
