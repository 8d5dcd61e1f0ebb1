"""Files of prompts for zero-shot runs: read and check them. `bench prompts` makes them. This module does not import torch.

A file has these tensors, and as metadata the findings, the wordings and the rule:

    text         [W, K, 2, D]  vectors of length 1: W wordings, K findings, positive and negative prompt
    scale, bias  []            as the text model learned them
    projection   [D, F]        from F features of the image network to the D numbers of a text vector; missing if the
                               features are compared without a projection
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.planning.run import path_of_entry
from bench.store.file_integrity import file_sha256
from bench.store.store import canonical_json
from harmonize.errors import ConfigError, SetupError
from reports.formatting import plural

_AGAIN = "make the file again with `bench prompts`"


@dataclass(frozen=True, slots=True)
class PromptShape:
    """What a run must know to build its output layer before the prompts are loaded."""

    width: int  # D
    features: int  # F
    rule: str
    projected: bool

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> Self:
        """Return the shape that the block `prompts` of a run document states."""
        return cls(int(stated["width"]), int(stated["features"]), str(stated["rule"]), bool(stated["projected"]))


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """The content of a file of prompts."""

    path: Path
    findings: tuple[str, ...]
    wordings: tuple[Mapping[str, str], ...]  # each has the texts `positive` and `negative`, with {} for the finding
    rule: str
    arrays: Mapping[str, NDArray[np.float32]]

    @classmethod
    def path_of(cls, architecture: Entry, weights_dir: Path | None, registry_path: Path) -> Path:
        """Return the path of the file that the key `prompts` of an architecture names.

        Raises ConfigError without the key, SetupError without the file.
        """
        if "prompts" not in architecture.facts:
            fix = "add `prompts: FILE.safetensors` to its registry entry; `bench prompts` makes the file"
            raise ConfigError("the architecture has no prompts", architecture.name, fix)
        path = path_of_entry(architecture, "prompts", weights_dir, registry_path)
        if not path.is_file():
            fix = "put the file there, or correct `prompts:` of its registry entry"
            raise SetupError(f"no prompts of {architecture.name}", str(path), fix)
        return path.resolve()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of prompts. Raises SetupError for a file that `bench prompts` did not write, or that is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                stated = json.loads((file.metadata() or {})["prompts"])
                arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in file.keys()}  # noqa: SIM118
            prompts = cls(path, tuple(stated["findings"]), tuple(stated["wordings"]), stated["rule"], arrays)
            sizes = (len(prompts.wordings), len(prompts.findings), 2)
            fits = arrays["text"].shape[:-1] == sizes and arrays["scale"].shape == arrays["bias"].shape == ()
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise SetupError(f"cannot read the prompts: {type(error).__name__}: {error}", str(path), _AGAIN) from error
        if not fits or not all(np.isfinite(array).all() for array in arrays.values()):
            raise SetupError("the prompts are damaged: a tensor does not fit, or is not finite", str(path), _AGAIN)
        return prompts

    @property
    def shape(self) -> PromptShape:
        """Return the shape of the output layer."""
        width = int(self.arrays["text"].shape[3])
        projection = self.arrays.get("projection")
        features = width if projection is None else int(projection.shape[1])
        return PromptShape(width, features, self.rule, projected=projection is not None)

    def stated(self, findings: Sequence[str], seed: int) -> dict[str, Any]:
        """Return what a run document states about its prompts; the seed of the run selects the wording.

        Raises ConfigError if a finding has no prompt, or if the seed selects no wording.
        """
        if missing := [finding for finding in findings if finding not in self.findings]:
            what = f"the prompts have another label space: {len(missing)} of {len(findings)} findings are missing, e.g. {missing[0]}"
            fix = f"make prompts for the findings of the grid; the file has {', '.join(self.findings)}"
            raise ConfigError(what, str(self.path), fix)
        number = len(self.wordings)
        if seed >= number:
            what = f"seed {seed} selects wording {seed + 1}, but the file has {plural(number, 'wording')}"
            raise ConfigError(what, str(self.path), f"with `head: prompts`, use seeds below {number}")
        return {"sha256": file_sha256(self.path), **asdict(self.shape)}

    def check_features(self, features: int, where: str) -> None:
        """Raise ConfigError if the image network has another number of features than the prompts need."""
        if features != self.shape.features:
            what = f"the prompts are for {self.shape.features} features, but the network has {features}"
            raise ConfigError(what, where, "name the prompts that were made with the text model of this network")

    def text(self, wording: int) -> str:
        """Return the texts of a wording, for records: "chest X-ray with {} / chest X-ray without {}"."""
        texts = self.wordings[wording]
        return " / ".join(texts[side] for side in ("positive", "negative") if side in texts)


def metadata(findings: Sequence[str], wordings: Sequence[Mapping[str, str]], rule: str, source: str) -> dict[str, str]:
    """Return the metadata of a file of prompts. They have one key, because safetensors writes several in random order."""
    stated = {"findings": list(findings), "wordings": list(wordings), "rule": rule, "source": source}
    return {"prompts": canonical_json(stated).decode()}
