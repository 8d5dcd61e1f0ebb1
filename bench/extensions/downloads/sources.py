"""Read `downloads.yaml`: where each dataset comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file with a direct public download. `size`: bytes, 0 if not published. `sha256`: "" if not published."""

    url: str
    name: str = ""
    size: int = 0
    sha256: str = ""
    into: str = ""  # folder below the dataset's folder
    top: str = ""  # first folder in the archive that is left out
    part: int = 0  # number of the part of the release, 0 for a file that every part needs

    @property
    def local_name(self) -> str:
        """Return the name of the file on this machine."""
        return self.name or self.url.rpartition("/")[2]

    @property
    def is_archive(self) -> bool:
        """Return whether the file is unpacked after the download."""
        return self.local_name.endswith((".zip", ".tgz", ".tar.gz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSource:
    """Where a dataset comes from; without `files`, there is no direct public download."""

    page: str
    needs: str = "nothing"
    put: str = ""
    note: str = ""
    files: tuple[RemoteFile, ...] = ()


@cache
def sources() -> Mapping[str, DownloadSource]:
    """Return the source of each layout, in the order of labels.yaml."""
    known: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_name("downloads.yaml"))
    return {
        layout: DownloadSource(
            **known[layout] | {"files": tuple(RemoteFile(**file) for file in known[layout].get("files", ()))}
        )
        for layout in labels_yaml()["datasets"]
    }
