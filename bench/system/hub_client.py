"""The Hugging Face hub's own client, asked to say nothing about this machine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def download(repository: str, name: str) -> str:
    """Return where a file of a model's repository lies on this machine, after it was downloaded if need be.

    Whatever stands in the way is raised as the client's own errors.
    """
    from huggingface_hub import hf_hub_download

    _say_nothing()
    # timm names no revisions; numbers are read, no code
    return hf_hub_download(repository, name)  # nosec B615


def api() -> "HfApi":
    """Return the client with which repositories are made and written."""
    from huggingface_hub import HfApi

    _say_nothing()
    return HfApi(library_name="unseen-cxr")


def _say_nothing() -> None:
    """Switch telemetry off: else every request tells the versions of torch and of other packages that are installed."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True  # read at every request; the variable of that name, once at import
