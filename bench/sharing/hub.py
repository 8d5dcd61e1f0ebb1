"""A stored run on the Hugging Face hub: weights, configuration, card, and nothing else.

What may leave is listed here by name (`files_of`): no image, no table of a cohort, no prediction, no gallery. The texts are
searched for every id of every cohort before anything is sent.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.planning.manifest import Manifest, planned
from bench.planning.run import find_run, read_run
from bench.results.model_card import card
from bench.results.read_predictions import unfinished
from bench.store.store import Store, read_table
from bench.system.hub_client import api
from harmonize.errors import ConfigError, SetupError, StoreError

_WORD = re.compile(r"[^\s\"'|,;:()<>\[\]{}]+")
_REPO = re.compile(r"\w[\w.-]{0,94}/\w[\w.-]{0,94}", re.ASCII)
_SHORT = 6  # ids of fewer characters are words and numbers of any text
_INTERNAL = re.compile(r"--(?:data|store|weights|registry)[= ]\S+")  # paths of the machine in a command line


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of the repository: its name there, and its content or where that lies."""

    name: str
    source: bytes | Path

    @property
    def size(self) -> int:
        """Return its bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def files_of(store: Store, asked: str, grid: str | None = None) -> tuple[str, Manifest, list[HubFile]]:
    """Return the id of the run that begins so, its grid, and the files that go to the hub: all that prediction needs.

    Raises StoreError for a run that is not there, not finished or scored, derived, without weights here, or whose texts
    would name a patient or an image.
    """
    run_id = find_run(store, asked)
    stored = read_run(store, run_id)
    manifest, run = planned(store, run_id, grid)
    folder, scores = store.run_dir(run_id), store.root / "scores" / run_id
    if reason := unfinished(manifest, run) or ("" if (scores / "KEY").is_file() else "it has no scores"):
        raise StoreError(
            f"run {run_id}: {reason}", str(folder), "finish it with `bench run`, score it with `bench score`"
        )
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise StoreError(
            f"run {run_id} has no weights here", str(weights), "upload where it was trained; a bundle has none"
        )
    points = read_table(scores / "operating_points.parquet")
    config = {
        "run": run_id,
        "findings": list(stored.config.findings),
        "not_learnt": store.read_json(run_id[:2], run_id, "trained.json").get("unlearnt", []),
        "outputs": "logits, one per finding in this order",
        "document": json.loads(stored.document),
        "operating_points": json.loads(points.to_json(orient="records", double_precision=15)),
    }
    texts = {
        "README.md": _INTERNAL.sub("", card(manifest, run)).encode(),
        "config.json": json.dumps(config, indent=1, sort_keys=True).encode(),
    }
    if (folder / "reference.json").is_file():  # what histstd or histmatch learnt: one curve of gray values
        texts["reference.json"] = (folder / "reference.json").read_bytes()
    _refuse_ids(manifest, texts)
    return run_id, manifest, [HubFile("model.safetensors", weights), *(HubFile(*each) for each in texts.items())]


def _refuse_ids(manifest: Manifest, texts: Mapping[str, bytes]) -> None:
    """Raise StoreError when a text holds an id of a patient, a study or an image, or a path of one."""
    words = {name: set(_WORD.findall(text.decode())) for name, text in texts.items()}
    for cohort in manifest.cohorts:
        private = set(_private(manifest.table(cohort)))
        for name, said in words.items():
            if shared := said & private:
                what = f"{name} would name {len(shared)} images or patients of {cohort['name']}"
                fix = "nothing was sent; look for them in `bench card RUN` and in the grid's title and names"
                raise StoreError(what, str(manifest.store.root), fix)


def _private(table: pd.DataFrame) -> Iterator[str]:
    for column in ("image_id", "patient_id", "study_id", "path"):
        if column in table:
            yield from (str(value) for value in table[column].unique() if len(str(value)) >= _SHORT)


def upload(files: Sequence[HubFile], repo: str, message: str, public: bool = False) -> str:
    """Make the repository where it is not there yet, put the files into it in one commit, and return where it is.

    A new repository is private unless `public`. Raises SetupError where the hub is switched off, unreachable or refuses.
    """
    check_name(repo)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SetupError(
            "the hub is switched off", "HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE; --dry-run lists the files without it"
        )
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError  # type: ignore[attr-defined]

    client = api()
    operations = [CommitOperationAdd(path_in_repo=each.name, path_or_fileobj=each.source) for each in files]
    try:
        place = client.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        client.create_commit(place.repo_id, operations, commit_message=message, repo_type="model")
    except (HfHubHTTPError, LocalTokenNotFoundError, HTTPError, OSError) as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        fix = "log in (`hf auth login`, or set HF_TOKEN) with the right to write there; what was sent is one commit or nothing"
        raise SetupError(f"the hub did not take it: {first[0]}", repo, fix) from error
    return str(place)


def check_name(repo: str) -> None:
    """Raise ConfigError for a name that no repository can have."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise ConfigError(f"{repo!r} is no name of a repository", "--repo", "write OWNER/NAME, e.g. lab/densenet-cxr")


def licences(manifest: Manifest, run_id: str) -> list[str]:
    """Return under what licences the things stand that the weights were made of: the internal images, the starting weights."""
    if manifest.content["phantom"]:
        said = ["internal: synthetic images"]
    else:
        internal: Mapping[str, Any] = next(cohort for cohort in manifest.cohorts if cohort["role"] == "internal")
        said = [f"internal: {internal['name']}, {internal['facts'].get('licence') or 'no licence stated'}"]
    run = next(run for run in manifest.runs if run["id"] == run_id)
    started = str(run.get("licence") or "") if manifest.config(run).weights != "none" else ""
    return [*said, f"starting weights: {started or 'not stated'}"] if manifest.config(run).weights != "none" else said


__all__ = ["HubFile", "check_name", "files_of", "licences", "upload"]
