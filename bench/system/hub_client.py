"""The client of the Hugging Face hub, without telemetry."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def download(repository: str, name: str) -> str:
    """Return the local path of a file of a model repository; download it if necessary.

    Raises the client's own errors.
    """
    from huggingface_hub import hf_hub_download

    _switch_telemetry_off()
    # timm states no revision of the file. The file contains numbers and no code.
    return hf_hub_download(repository, name)  # nosec B615


def api() -> "HfApi":
    """Return the hub client that creates repositories and writes files into them."""
    from huggingface_hub import HfApi

    _switch_telemetry_off()
    return HfApi(library_name="unseen-cxr")


def _switch_telemetry_off() -> None:
    """Switch telemetry off. Otherwise every request sends the versions of installed packages."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read at every request; the environment variable is read only at import
