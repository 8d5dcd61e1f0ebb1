"""Signed results of `bench reproduce`: written by whoever trained a run again, checked by the board."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.extensions.board.submission import BUNDLE, REPRODUCTIONS
from bench.planning.manifest import Manifest
from bench.results.same_scores import ROUNDING
from bench.store.checked_folders import ScoresFolder
from bench.store.sign import signer
from bench.study.reproduction_record import AGREES, KEYS, NAMESPACE, VERDICTS
from harmonize.errors import StoreError

_FIX = "remove the file, or ask its signer"


@dataclass(frozen=True, slots=True)
class SignedReproduction:
    """A run that somebody else has trained again. agrees: whether the scores agree."""

    run: str
    by: str
    verdict: str

    @property
    def agrees(self) -> bool:
        """Return whether the scores agree within what seeds or patients explain."""
        return self.verdict in AGREES


def reproductions(folder: Path, manifest: Manifest, signers: Path) -> list[SignedReproduction]:
    """Return the reproductions in a submission's folder.

    Raises StoreError for a missing or wrong signature, a signer who is the submitter, a run that the bundle does not have,
    and stored scores that are not those of the bundle.
    """
    paths = sorted((folder / REPRODUCTIONS).glob("*.json"))
    if not paths:
        return []
    own = signer(folder / BUNDLE, signers)
    out = []
    for path in paths:
        by = signer(path, signers, NAMESPACE)
        if by == own:
            raise StoreError(f"{by} signed the bundle and the reproduction: that is not somebody else", str(path), _FIX)
        out.append(_checked(path, by, manifest))
    return out


def _checked(path: Path, by: str, manifest: Manifest) -> SignedReproduction:
    try:
        content: Mapping[str, Any] = json.loads(path.read_bytes())
        run, verdict, rows = str(content["run"]), str(content["verdict"]), pd.DataFrame(content["scores"])
        rows = rows[[*KEYS, "stored", "again"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError("this is no result of `bench reproduce`", str(path), _FIX) from error
    if run not in {row.id for row in manifest.runs} or verdict not in VERDICTS:
        raise StoreError(f"the bundle has no run {run[:12]}, or the verdict is unknown", str(path), _FIX)
    scores = ScoresFolder(manifest.scores / run).table("scores")
    try:
        joined = rows.merge(scores[[*KEYS, "value"]], on=list(KEYS), how="left")
        stored = joined["stored"].astype(float)
    except (ValueError, TypeError) as error:
        raise StoreError("a score is not a number, or its key is not a text", str(path), _FIX) from error
    same = (stored - joined["value"]).abs() <= ROUNDING
    if not len(rows) or not (same | (stored.isna() & joined["value"].isna())).all():
        raise StoreError(f"the stored scores of {run} are not those of the bundle", str(path), _FIX)
    return SignedReproduction(run, by, verdict)
