"""Name a model on the command line: a run of the store, a folder, or a repository of the Hugging Face hub.

This module does not import torch, so that a wrong name is reported at once. `bench.runs.model_folder` loads the model.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.registry import Registry
from bench.planning.run import RunSpec
from bench.planning.stored_names import find_run
from bench.store.checked_folders import WEIGHTS
from bench.store.file_integrity import bytes_sha256
from bench.store.store import Store, canonical_json
from bench.system.hub_client import download_folder
from harmonize.errors import SetupError, StoreError

CONFIG = "config.json"
MEMBERS = "members"  # folder of the networks of a TTA, an ensemble or a panel
REPOSITORY = re.compile(r"\w[\w.-]{0,94}/\w[\w.-]{0,94}", re.ASCII)
# options of timm that would read other files of this machine
_UNSAFE_OPTIONS = (
    "checkpoint_path",
    "cache_dir",
    "pretrained",
)
_DOWNLOADED = (CONFIG, "*.safetensors", "*reference.json")


def is_outside(reference: str) -> bool:
    """Return whether a text names a folder or a repository of the hub, not a run of the store.

    >>> is_outside("3fa9"), is_outside("lab/densenet-cxr"), is_outside("./models")
    (False, True, True)
    """
    return "/" in reference or "\\" in reference or _is_model_folder(Path(reference))


def check_reference(reference: str, store: Path) -> str:
    """Return a name that `load_model` accepts: a run id, or the local folder of the model (downloaded if necessary).

    Raises StoreError for an unknown run or folder, SetupError for a repository that cannot be downloaded.
    """
    if is_outside(reference):
        return str(folder_of(reference).resolve())
    return find_run(Store.open(store, create=False), reference)


def folder_of(reference: str) -> Path:
    """Return the local folder of a model: the folder itself, or the downloaded repository of the hub."""
    folder = Path(reference)
    if folder.is_dir():
        if not _is_model_folder(folder):
            fix = f"give a folder with {CONFIG} and {WEIGHTS}, as `bench upload --folder` writes it"
            raise StoreError("this folder has no model", str(folder), fix)
        return folder
    if not REPOSITORY.fullmatch(reference):
        fix = "give a folder or a hub repository OWNER/NAME; `bench upload RUN --folder FOLDER` makes a folder of a run"
        raise StoreError("no such folder", reference, fix)
    try:
        downloaded = Path(download_folder(reference, _DOWNLOADED))
    except Exception as error:  # the hub client raises its own errors and those of httpx and of the system
        lines = str(error).strip().splitlines() or [type(error).__name__]
        fix = (
            f"check the name, and log in if the repository is private (`hf auth login`); without a network, run "
            f"`hf download {reference} --local-dir FOLDER` where there is one, copy FOLDER here, and name it instead"
        )
        what = f"there is no such folder, and the hub's repository cannot be downloaded: {lines[0]}"
        raise SetupError(what, reference, fix) from error
    if not _is_model_folder(downloaded):
        fix = "choose a repository that `bench upload` made"
        raise StoreError(f"the repository has no {CONFIG} of a run", reference, fix)
    return downloaded


def foreign_code(run: RunSpec, registry: Registry) -> str:
    """Return the code of a run's network if the registry does not have this code; "" if all is known.

    Code of the registry is also returned if the run gives this code options that could read other files of this machine.
    """
    entry = run.entries["architecture"]
    name = str(entry.options.get("name", ""))
    if entry.use not in {own.use for own in registry.sections["architectures"].values()}:
        return entry.use
    unsafe = [option for option in _UNSAFE_OPTIONS if option in entry.options] or ([name] if ":" in name else [])
    return f"{entry.use} with {', '.join(unsafe)}" if unsafe else ""


def config_sha256(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content of config.json without its key `sha256`: thresholds and calibrators change predictions."""
    return bytes_sha256(canonical_json({key: value for key, value in content.items() if key != "sha256"}))


def _is_model_folder(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, "run.json"))
