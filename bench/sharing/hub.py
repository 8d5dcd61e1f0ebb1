"""Upload a stored run to the Hugging Face hub: weights, configuration and model card, nothing else.

`files_of` lists every file that is uploaded: no image, cohort table, prediction or gallery. Before an upload, the texts are
searched for every id of every cohort.
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
_MIN_LENGTH = 6  # shorter ids are not searched for, because ordinary words and numbers would match
_LOCAL_PATHS = re.compile(r"--(?:data|store|weights|registry)[= ]\S+")  # paths of this machine in a command line


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of the repository: its name there, and its content or local path."""

    name: str
    source: bytes | Path

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def files_of(store: Store, run_prefix: str, grid: str | None = None) -> tuple[str, Manifest, list[HubFile]]:
    """Return the run's id, its grid, and the files to upload: everything that prediction needs.

    `run_prefix`: the beginning of the run id. Raises StoreError for a run that is unknown, unfinished, unscored,
    derived or without weights. It is also raised if a text contains an id of a patient or an image.
    """
    run_id = find_run(store, run_prefix)
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
            f"run {run_id} has no weights in this store", str(weights), "upload from the store that trained the run"
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
        "README.md": _LOCAL_PATHS.sub("", card(manifest, run)).encode(),
        "config.json": json.dumps(config, indent=1, sort_keys=True).encode(),
    }
    if (folder / "reference.json").is_file():  # the curve of gray values that histstd or histmatch has learned
        texts["reference.json"] = (folder / "reference.json").read_bytes()
    _refuse_ids(manifest, texts)
    return (
        run_id,
        manifest,
        [HubFile("model.safetensors", weights), *(HubFile(name, text) for name, text in texts.items())],
    )


def _refuse_ids(manifest: Manifest, texts: Mapping[str, bytes]) -> None:
    """Raise StoreError if a text contains an id of a patient, study or image, or the path of an image."""
    words = {name: set(_WORD.findall(text.decode())) for name, text in texts.items()}
    for cohort in manifest.cohorts:
        private = set(_private(manifest.table(cohort)))
        for name, text_words in words.items():
            if shared := text_words & private:
                what = f"{name} contains {len(shared)} ids or paths of {cohort['name']}"
                fix = "nothing was sent; remove them: see `bench card RUN`, and the title and names of the grid"
                raise StoreError(what, str(manifest.store.root), fix)


def _private(table: pd.DataFrame) -> Iterator[str]:
    """Yield the ids and paths of a cohort table."""
    for column in ("image_id", "patient_id", "study_id", "path"):
        if column in table:
            yield from (str(value) for value in table[column].unique() if len(str(value)) >= _MIN_LENGTH)


def upload(files: Sequence[HubFile], repo: str, message: str, public: bool = False) -> str:
    """Upload files in one commit, after creating the repository if necessary. Return the address of the repository.

    A new repository is private unless `public`. Raises SetupError if the hub is switched off, unreachable or refuses.
    """
    check_name(repo)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SetupError(
            "the hub is switched off", "HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE; --dry-run works without the hub"
        )
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError  # type: ignore[attr-defined]

    client = api()
    operations = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.source) for file in files]
    try:
        created = client.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        client.create_commit(created.repo_id, operations, commit_message=message, repo_type="model")
    except (HfHubHTTPError, LocalTokenNotFoundError, HTTPError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        fix = "log in with write access (`hf auth login`, or set HF_TOKEN); no incomplete upload is visible"
        raise SetupError(f"the hub refused the upload: {lines[0]}", repo, fix) from error
    return str(created)


def check_name(repo: str) -> None:
    """Raise ConfigError for an invalid repository name."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise ConfigError(f"{repo!r} is not a repository name", "--repo", "write OWNER/NAME, e.g. lab/densenet-cxr")


def licences(manifest: Manifest, run_id: str) -> list[str]:
    """Return the licenses of the training images and of the pretrained weights (if any), one line each."""
    if manifest.content["phantom"]:
        lines = ["internal: synthetic images"]
    else:
        internal: Mapping[str, Any] = next(cohort for cohort in manifest.cohorts if cohort["role"] == "internal")
        lines = [f"internal: {internal['name']}, {internal['facts'].get('licence') or 'no licence stated'}"]
    run = next(run for run in manifest.runs if run["id"] == run_id)
    if manifest.config(run).weights != "none":
        lines.append(f"starting weights: {run.get('licence') or 'not stated'}")
    return lines


__all__ = ["HubFile", "check_name", "files_of", "licences", "upload"]
