"""Signed results of `bench reproduce`: written by whoever trained a run again, checked by the board.

The board computes the verdict from the stored and the new scores; it does not read the verdict of the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.extensions.board.submission import BUNDLE, REPRODUCTIONS
from bench.extensions.reproduction.record import AGREES, ENOUGH, KEYS, NAMESPACE, compared, overall_verdict
from bench.planning.manifest import Manifest
from bench.results.same_scores import ROUNDING
from bench.store.sign import is_same_signer, signer
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


def reproductions(
    folder: Path, manifest: Manifest, headlines: Mapping[str, pd.DataFrame], signers: Path
) -> list[SignedReproduction]:
    """Return the reproductions in a submission's folder. `headlines`: id of a trained run -> its headline scores.

    Raises StoreError for a missing or wrong signature, a signer who is the submitter, a run that the bundle does not have,
    missing or further scores, and stored scores that are not those of the bundle.
    """
    paths = sorted((folder / REPRODUCTIONS).glob("*.json"))
    if not paths:
        return []
    own = signer(folder / BUNDLE, signers)
    out = []
    for path in paths:
        by = signer(path, signers, NAMESPACE)
        if is_same_signer(by, own, signers):
            raise StoreError(f"{by} signed the bundle and the reproduction: that is not somebody else", str(path), _FIX)
        out.append(_checked(path, by, manifest, headlines))
    return out


def _checked(path: Path, by: str, manifest: Manifest, headlines: Mapping[str, pd.DataFrame]) -> SignedReproduction:
    try:
        content = json.loads(path.read_bytes(), parse_constant=_no_number)
        run, rows = str(content["run"]), pd.DataFrame(content["scores"])[[*KEYS, "stored", "again"]]
        given = rows.set_index(list(KEYS)).astype({"stored": np.float64, "again": np.float64})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            "this is no result of `bench reproduce`, or a score is not a number", str(path), _FIX
        ) from error
    seeds = _seeds(manifest, run)
    if not seeds:
        raise StoreError(f"the bundle has no run {run[:12]}", str(path), _FIX)
    stored = headlines[run]
    expected = stored.set_index(list(KEYS))["value"]
    if not given.index.is_unique or set(given.index) != set(expected.index):
        raise StoreError(f"it has not exactly the headline scores of {run}", str(path), _FIX)
    given = given.reindex(expected.index)
    if not np.allclose(given["stored"], expected, rtol=0, atol=ROUNDING, equal_nan=True):
        raise StoreError(f"the stored scores of {run} are not those of the bundle", str(path), _FIX)
    again = given["again"].rename("value").reset_index()
    exact = stored.assign(value=given["stored"].to_numpy())  # the record has fewer digits than the bundle
    found = compared(exact, again, [exact, *(headlines[seed] for seed in seeds if seed != run)])
    return SignedReproduction(run, by, overall_verdict(found, len(seeds) >= ENOUGH))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _seeds(manifest: Manifest, run_id: str) -> Sequence[str]:
    """Return the trained runs that differ from a run only in the seed, with the run; [] if the bundle does not have the run."""
    configs = {run.id: replace(run.config, seed=0) for run in manifest.runs}
    return [other for other, config in configs.items() if run_id in configs and config == configs[run_id]]
