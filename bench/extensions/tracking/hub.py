"""Upload a stored run to the Hugging Face hub, or write the same files into a folder.

The files are weights, configuration and model card; no image, cohort table, prediction or gallery is among them. `files_of`
searches the texts for the ids of all cohorts, and returns the files only if the texts have no ids.
"""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.seen import OTHERS
from bench.planning.exposure import Exposure
from bench.planning.manifest import Manifest, planned
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.planning.run import read_run
from bench.planning.stored_names import find_run
from bench.results.model_card import card
from bench.results.read_predictions import unfinished
from bench.results.run_table import run_title
from bench.runs.elsewhere import elsewhere
from bench.runs.model_reference import MEMBERS, config_sha256
from bench.store.checked_folders import REFERENCE, WEIGHTS, CheckedFolder, ScoresFolder
from bench.store.file_integrity import file_sha256
from bench.store.store import Store, write_bytes
from bench.system.hub_client import api, check_name
from harmonize.datasets import TABLE
from harmonize.errors import ConfigError, SetupError, StoreError
from reports.schemas.exposure import CORPORA, NO, UNKNOWN

_MIN_LENGTH = 6  # characters of the ids to search for; shorter ids would match words, counts and seeds
_LOCAL_PATHS = re.compile(r"--(?:data|store|weights|registry)[= ]\S+")  # paths of this machine in a command line


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file to upload: its name in the repository, and its source: the content as bytes, or the path of a local file."""

    name: str
    source: bytes | Path

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


def files_of(store: Store, run_prefix: str, grid: str | None = None) -> tuple[str, Manifest, list[HubFile]]:
    """Return the run's id, the manifest of its grid, and the files to upload.

    The files are everything that prediction needs. A TTA, an ensemble or a panel has the files of all networks that it combines.
    `run_prefix`: the beginning of the run id. `grid`: name of the run's grid; None for the first grid that has the run.
    Raises StoreError for a run that is unknown, unfinished, unscored, without weights, or an imported model. Also raises
    StoreError if a text contains an id of a patient or an image.
    """
    run_id = find_run(store, run_prefix)
    manifest, run = planned(store, run_id, grid)
    folder, scores = store.run_dir(run_id), store.root / "scores" / run_id
    if run.is_imported:
        read_run(store, run_id)  # raises StoreError, because an imported model has no weights in the store
    if reason := unfinished(manifest, run) or ("" if (scores / "KEY").is_file() else "it has no scores"):
        fix = "finish it with `bench run`, score it with `bench score`"
        raise StoreError(f"run {run_id}: {reason}", str(folder), fix)
    points = ScoresFolder(scores).table("operating_points").drop(columns="run_id", errors="ignore")
    block, files = _block(store, manifest, run_id, "")
    config = {
        **block,
        "name": run_title(manifest, run),
        "outputs": "logits, one per finding in this order",
        "operating_points": _records(points),
        "elsewhere": _records(elsewhere(manifest, run_id)),
        "trained_on": _trained_on(manifest, run),
    }
    config["sha256"] = config_sha256(config)
    texts = {
        "README.md": _public_card(manifest, run).encode(),
        "config.json": json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False).encode(),
        **{file.name: file.source for file in files if isinstance(file.source, bytes)},
    }
    _refuse_ids(manifest, texts)
    weights = [file for file in files if isinstance(file.source, Path)]
    return run_id, manifest, [*weights, *(HubFile(name, text) for name, text in texts.items())]


def _public_card(manifest: Manifest, run: PlannedRun) -> str:
    """Return the model card for the repository (Markdown).

    The card has no paths of this machine. Its example command predicts with the repository, and not with the store.
    """
    text = card(manifest, run).replace(
        f"bench predict {run.id} IMAGE.png --store STORE",
        "bench predict OWNER/NAME IMAGE.png   # the name of this repository, or a folder with its files",
    )
    return _LOCAL_PATHS.sub("", text)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows for JSON, None for missing values. pandas' own JSON would change the last bits: it has at most 15 decimals."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _block(store: Store, manifest: Manifest, run_id: str, folder: str) -> tuple[dict[str, Any], list[HubFile]]:
    """Return a run's block of config.json, and the files of its networks. The names of these files begin with `folder`.

    `bench.runs.model_folder` reads the block. The block of a TTA, an ensemble or a panel contains the blocks of its source runs.
    """
    from bench.runs.internal_images import usual_gray_values  # imports OpenCV

    folder_of_run = store.run_dir(run_id)
    document = CheckedFolder(folder_of_run).json("run.json")
    trained = CheckedFolder(folder_of_run).json("trained.json")
    block: dict[str, Any] = {
        "run": run_id,
        "not_learnt": trained.get("unlearnt", []),
        "document": document,
        "synthetic": manifest.phantom,
    }
    if "kind" in document:
        if "chosen" in trained:
            block["chosen"] = list(trained["chosen"].values())
        sources = block.get("chosen", document["sources"])
        parts = [_block(store, manifest, str(source), f"{MEMBERS}/{source}/") for source in sources]
        block |= {"findings": list(manifest.run_of[run_id].config.findings), "sources": [part for part, _ in parts]}
        return block, [file for _, files in parts for file in files]
    run = read_run(store, run_id)
    weights = folder_of_run / WEIGHTS
    if run.has_given_vectors:
        what = f"run {run_id} has vectors of its images, and no network that others could use"
        fix = "upload a run with its own encoder; `bench export` shares the scores of this run"
        raise StoreError(what, str(folder_of_run), fix)
    if not weights.is_file():
        fix = "upload from the store that trained the run"
        raise StoreError(f"run {run_id} has no weights in this store", str(weights), fix)
    CheckedFolder(folder_of_run).check_weights()
    block |= {
        "findings": list(run.config.findings),
        "gray_values": usual_gray_values(store, run),
        "weights_sha256": file_sha256(weights),
    }
    files = [HubFile(f"{folder}{WEIGHTS}", weights)]
    # the reference histogram that the preprocessing ops histstd and histmatch need
    if (folder_of_run / REFERENCE).is_file():
        files.append(HubFile(folder + REFERENCE, CheckedFolder(folder_of_run).read(REFERENCE)))
        block["reference_sha256"] = file_sha256(folder_of_run / REFERENCE)
    return block, files


def _trained_on(manifest: Manifest, run: PlannedRun) -> dict[str, Any]:
    """Return the data exposure of a run: its training hospitals, their title and license, and the images of pretraining.

    `hospitals` is {cohort: layout} of the hospitals on which the run trained. `pretraining` is "none" if all networks started
    from random weights. `seen` is what the starting weights had seen of each cohort of the grid, by layout, or by name for the
    user's own tables.
    """
    trained_at = manifest.trained_at(run)
    trained = [row for row in manifest.runs if row.id in (run.id, *run.of)]
    pretrained = [row for row in trained if row.config.weights != "none"]
    stated = dict.fromkeys((row.corpus or "unknown") for row in pretrained)
    return {
        "hospitals": {hospital.name: hospital.layout for hospital in trained_at},
        "title": manifest.internal_name(run).title,
        "licence": _licence(manifest, trained_at) or "not stated",
        "pretraining": ", ".join(stated) or "none",
        "seen": _seen(manifest, run, trained),
    }


def _licence(manifest: Manifest, hospitals: Sequence[PlannedCohort]) -> str:
    """Return the licenses of the images of several hospitals, "" if none is stated."""
    return "; ".join(dict.fromkeys(filter(None, map(manifest.licence, hospitals))))


def _seen(manifest: Manifest, run: PlannedRun, runs: Sequence[PlannedRun]) -> dict[str, str]:
    """Return the answers of a run's starting weights; `runs`: the trained runs that it combines, or the run itself.

    There are no answers for the hospitals of a pool on which the run trained. Hospitals outside the grid are unknown, unless all
    weights are random or of photographs.
    """
    answers: dict[str, list[str]] = {}
    stated = manifest.exposure(run)
    trained_at = [] if manifest.pooled else manifest.trained_at(run)
    for cohort in (*trained_at, *manifest.external_to(run)):
        key = cohort.name if cohort.layout == TABLE else cohort.layout
        answers.setdefault(key, []).append(str(stated[cohort.name]["answer"]))
    saw_no_hospital = all(not row.exposure and (row.config.weights == "none" or row.corpus in CORPORA) for row in runs)
    seen = {key: Exposure.strongest(of_key) for key, of_key in answers.items()}
    return {**seen, OTHERS: NO if saw_no_hospital else UNKNOWN}


def write_folder(files: Sequence[HubFile], folder: Path) -> None:
    """Write the files of an upload into a new or empty folder, with which `bench predict FOLDER IMAGE` can predict.

    Raises ConfigError for a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError("the folder is not empty", str(folder), "give a new folder with --folder")
    for file in files:
        content = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
        write_bytes(folder / file.name, content)


def _refuse_ids(manifest: Manifest, texts: Mapping[str, bytes]) -> None:
    """Raise StoreError if a text contains an id of a patient, study or image, or the path of an image.

    `texts`: file name -> content. An id of at least _MIN_LENGTH characters is found where no letter or digit is next to it.
    """
    for name, content in texts.items():
        # as a reader sees it: without the escapes of JSON, Markdown and HTML
        text = html.unescape(content.decode().replace("\\", ""))
        for cohort in manifest.cohorts:
            table = manifest.table(cohort)
            columns = [table[column] for column in ("image_id", "patient_id", "study_id", "path") if column in table]
            private = {str(value) for column in columns for value in column.unique() if len(str(value)) >= _MIN_LENGTH}
            candidates = [value for value in private if value in text]
            found = [value for value in candidates if re.search(rf"(?<![\w.]){re.escape(value)}(?!\w)", text)]
            if found:
                what = f"{name} contains {len(found)} ids or paths of {cohort.name}"
                fix = "nothing was sent; remove them: see `bench card RUN`, and the title and names of the grid"
                raise StoreError(what, str(manifest.store.root), fix)


def upload(files: Sequence[HubFile], repo: str, message: str, public: bool = False) -> str:
    """Upload files in one commit; return the address of the repository.

    If the repository does not exist, it is made: public if `public` is set, else private. `message`: commit message. Raises
    ConfigError for an invalid repository name. Raises SetupError if the hub is switched off (HF_HUB_OFFLINE) or unreachable, or
    if it refuses the upload.
    """
    check_name(repo)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        fix = "unset HF_HUB_OFFLINE; --dry-run works without the hub"
        raise SetupError("the hub is switched off", "HF_HUB_OFFLINE", fix)
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


def licences(manifest: Manifest, run_id: str) -> list[str]:
    """Return lines of text: the license of the training images, and the licenses of the pretrained weights, if there are any."""
    run = manifest.run_of[run_id]
    licence = _licence(manifest, manifest.trained_at(run)) or "no license stated"
    lines = [f"internal: {manifest.internal_name(run).title}, {licence}"]
    networks = [manifest.run_of[network] for network in run.of or (run_id,)]
    pretrained = [run for run in networks if run.config.weights != "none"]
    lines += dict.fromkeys(f"starting weights: {run.licence or 'not stated'}" for run in pretrained)
    return lines
