"""The client of the Hugging Face hub, without telemetry."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harmonize.errors import ConfigError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def download(repository: str, name: str) -> str:
    """Download a file of a model repository, unless the local cache has the file; return its local path.

    `repository`: "owner/name". `name`: path of the file in the repository. Errors of `huggingface_hub` are not converted.
    """
    from huggingface_hub import hf_hub_download

    _switch_telemetry_off()
    # No revision is requested, because timm does not name a revision. The file contains numbers and no code.
    return hf_hub_download(repository, name)  # nosec B615


def download_folder(repository: str, patterns: Sequence[str]) -> str:
    """Download the files of a model repository that match `patterns`, such as "*.json"; return their local folder.

    Files in the hub's local cache are not downloaded again. Without a network, or with HF_HUB_OFFLINE, all files come from the
    cache. Errors of `huggingface_hub` are not converted.
    """
    from huggingface_hub import snapshot_download

    _switch_telemetry_off()
    # No revision is requested, so the newest revision is used, as with `hf download`. The files are weights and JSON, no code.
    return str(snapshot_download(repository, allow_patterns=list(patterns)))  # nosec B615


def cached_path(repository: str, name: str) -> Path | None:
    """Return the path of a repository's file in the local cache; None if the cache does not have the file."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def cache_folder() -> str:
    """Return the folder of the hub's local cache."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def is_reachable() -> bool:
    """Return whether the hub answers within five seconds. If HF_HUB_OFFLINE is set, the result is False."""
    from huggingface_hub import constants, get_session

    _switch_telemetry_off()
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # noqa: BLE001  (errors of huggingface_hub, of httpx or of the system)
        return False
    return True


def api() -> "HfApi":
    """Return a hub client that can create repositories and upload files."""
    from huggingface_hub import HfApi

    _switch_telemetry_off()
    return HfApi(library_name="unseen-cxr")


def _switch_telemetry_off() -> None:
    """Switch telemetry off, because with telemetry every request sends the versions of installed packages."""
    from huggingface_hub import constants

    # set the value itself: huggingface_hub reads the environment variable only when the library is imported
    constants.HF_HUB_DISABLE_TELEMETRY = True


def check_name(repo: str, option: str = "--repo") -> None:
    """Raise ConfigError unless `repo`, the value of an option, is a valid repository name, OWNER/NAME."""
    if not re.fullmatch(r"\w[\w.-]{0,94}/\w[\w.-]{0,94}", repo, re.ASCII) or "--" in repo or ".." in repo:
        raise ConfigError(f"{repo!r} is not a repository name", option, "write OWNER/NAME, e.g. lab/densenet-cxr")
