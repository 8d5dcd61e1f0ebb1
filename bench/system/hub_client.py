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
    # No revision is requested, because timm does not name one. The file contains numbers and no code.
    return hf_hub_download(repository, name)  # nosec B615


def api() -> "HfApi":
    """Return the hub client that creates repositories and writes files into them."""
    from huggingface_hub import HfApi

    _switch_telemetry_off()
    return HfApi(library_name="unseen-cxr")


def _switch_telemetry_off() -> None:
    """Switch telemetry off. Otherwise every request sends the versions of installed packages."""
    from huggingface_hub import constants

    # the client reads this value at every request, but the environment variable only at import
    constants.HF_HUB_DISABLE_TELEMETRY = True
