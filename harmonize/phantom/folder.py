"""Manage the folder of phantom cohorts: check it, lock it for one process, and never overwrite other data."""

import json
import shutil
from pathlib import Path

from harmonize.errors import ConfigError
from harmonize.phantom.settings import VERSION, PhantomSettings
from harmonize.phantom.sites import SITES

SETTINGS_FILE = "phantom.json"
PARTIAL = ".phantom-partial"
CHILDREN = (*SITES, "truth")


def is_complete(root: Path, settings: PhantomSettings) -> bool:
    """Return whether root contains the cohorts of these settings; raise ConfigError if it has cohorts of other settings."""
    if not (root / SETTINGS_FILE).is_file():
        return False
    fix = "choose another folder, or delete this one"
    try:
        stored = json.loads((root / SETTINGS_FILE).read_text(encoding="utf-8"))
        same = stored["version"] == VERSION and stored["settings"] == settings.as_dict()
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("the file is damaged", str(root / SETTINGS_FILE), fix) from error
    if not same:
        raise ConfigError("the folder contains phantoms of other settings", str(root / SETTINGS_FILE), fix)
    return True


def workspace(root: Path) -> Path:
    """Return an empty working folder inside root; raise ConfigError if root contains other data."""
    partial = root / PARTIAL
    existing = [name for name in CHILDREN if (root / name).exists()]
    if existing and not partial.is_dir() and not (root / SETTINGS_FILE).is_file():
        fix = "choose a new folder for phantoms"
        raise ConfigError(f"the folder already contains {', '.join(existing)}", str(root), fix)
    # The working folder exists until `publish` ends. Its presence marks the other files in root as phantom files.
    partial.mkdir(exist_ok=True)
    for child in partial.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    return partial


def publish(root: Path, settings: PhantomSettings) -> None:
    """Move the finished files into root, and write the settings file last."""
    partial = root / PARTIAL
    (root / SETTINGS_FILE).unlink(missing_ok=True)
    for name in CHILDREN:
        if (root / name).exists():
            shutil.rmtree(root / name)
        if (partial / name).exists():
            (partial / name).replace(root / name)
    content = {"version": VERSION, "settings": settings.as_dict()}
    (partial / SETTINGS_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (partial / SETTINGS_FILE).replace(root / SETTINGS_FILE)
    partial.rmdir()
