"""Unpack an archive completely or not at all, and never outside its folder."""

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from harmonize.disk_space import writing
from harmonize.errors import DatasetError

_AGAIN = "delete the file and download it again"


def unpack(archive: Path, folder: Path, top: str = "") -> list[Path]:
    """Unpack the files of a zip or tgz archive into a folder; return their paths. `top`: a first folder that is left out.

    The files are written into a hidden folder first, and moved when all are there. Files that macOS adds are left out.
    Raises DatasetError for an archive that is damaged or empty, or that has a link, a device or a path outside; DiskFullError.
    """
    hidden = folder / f".{archive.name}.unpacked"
    shutil.rmtree(hidden, ignore_errors=True)
    paths: list[Path] = []
    try:
        with writing(folder):
            for name, stream in _members(archive):
                path = _inside(name, top, archive)
                if path is not None:
                    target = hidden / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("xb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)
                    paths.append(path)
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (hidden / path).replace(folder / path)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, FileExistsError) as error:
        raise DatasetError(f"the archive is damaged: {error}", str(archive), _AGAIN) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    if not paths:
        raise DatasetError("the archive is empty", str(archive), _AGAIN)
    return [folder / path for path in paths]


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of each file of an archive; check all checksums. Raises DatasetError for a link or a device."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _unsafe(info.filename, archive)
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, stream
        return
    with gzip.open(archive) as whole:
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            for member in tar:
                if not (member.isfile() or member.isdir()):
                    raise _unsafe(member.name, archive)
                if (content := tar.extractfile(member)) is not None:
                    yield member.name, content
        while whole.read(1 << 20):  # the checksum is at the end of the file
            pass


def _inside(name: str, top: str, archive: Path) -> Path | None:
    """Return the path of a member below the folder, None for a file of macOS. Raises DatasetError for a path outside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise _unsafe(name, archive)
    if "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store":
        return None
    return Path(*(path.parts[1:] if top and path.parts[0] == top else path.parts))


def _unsafe(name: str, archive: Path) -> DatasetError:
    what = f"the archive has a link, a device or a path outside its folder: {name!r}; nothing was unpacked"
    return DatasetError(what, str(archive), "use the archive of the owner")
