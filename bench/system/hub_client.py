"""The client of the Hugging Face hub, without telemetry."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def download(repository: str, name: str) -> str:
    """Return the local path of a file of a model repository; download it if necessary.

    Raises the client's own errors.
    """
    from huggingface_hub import hf_hub_download

    _switch_telemetry_off()
    # No revision is requested, because timm does not name one. The file contains numbers and no code.
    return hf_hub_download(repository, name)  # nosec B615


def download_folder(repository: str, patterns: Sequence[str]) -> str:
    """Return the local folder of a model repository, with the files that match; download them if necessary.

    Without a network, or with HF_HUB_OFFLINE, the folder comes from the hub's local cache. Raises the client's own errors.
    """
    from huggingface_hub import snapshot_download

    _switch_telemetry_off()
    # No revision is requested: the newest one, as with `hf download`. The files are weights and JSON, no code.
    return str(snapshot_download(repository, allow_patterns=list(patterns)))  # nosec B615


def cached_path(repository: str, name: str) -> Path | None:
    """Return the path of a file of a model repository in the local cache, None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return Path(path) if isinstance(path, str) else None


def cache_folder() -> str:
    """Return the folder of the hub's local cache."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def is_reachable() -> bool:
    """Return whether the hub answers, after at most five seconds. It does not if HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants, get_session

    _switch_telemetry_off()
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # noqa: BLE001  (the client raises its own errors, those of httpx and of the system)
        return False
    return True


def api() -> "HfApi":
    """Return the hub client that creates repositories and writes files into them."""
    from huggingface_hub import HfApi

    _switch_telemetry_off()
    return HfApi(library_name="unseen-cxr")


def _switch_telemetry_off() -> None:
    """Switch telemetry off. Otherwise every request sends the versions of installed packages."""
    from huggingface_hub import constants

    # set the value, too, because the client reads the environment variable only when it is imported
    constants.HF_HUB_DISABLE_TELEMETRY = True
