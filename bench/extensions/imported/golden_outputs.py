"""Golden outputs: the outputs of an imported model on a few synthetic images, as its owner computed them.

A folder of golden outputs has PNG images and `outputs.csv`, a table with one row for each image: its file name in the
column `image`, and one column for each finding. The outputs are raw, as `outputs.kind` in model.yaml states. They are
compared before the model is tested.

Legend: N images, C channels, K findings with golden outputs, O outputs of the network.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.config.preprocessing_ops import geometry
from bench.extensions.imported.declaration import ModelDeclaration
from bench.extensions.imported.networks import ImportedNetwork, declared_normalization
from bench.models.predict import ExactFloat32
from bench.planning.imported_run import GOLDEN_TOLERANCE
from bench.store.safe_csv import csv_text
from bench.store.store import write_bytes
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import Gray, read_gray, to_geometry
from harmonize.phantom.patient import draw_patient, draw_study
from harmonize.phantom.radiograph import render
from harmonize.phantom.settings import PhantomSettings

Array = NDArray[np.float64]

TABLE = "outputs.csv"
SITES = ("chexpert", "mimic", "nih", "padchest", "vindr", "brax")  # one image of each synthetic hospital
SIDE = 512  # long side of the images, px
_LEAST_SPREAD = 1e-3  # least standard deviation, as a share of the largest output of the finding: above rounding errors


@dataclass(frozen=True, slots=True, eq=False)
class GoldenOutputs:
    """Images with the outputs that the owner of a model computed for them."""

    images: tuple[Gray, ...]
    columns: tuple[str, ...]  # findings, in the order of the table
    output_NK: Array
    where: str

    @classmethod
    def read(cls, declared: ModelDeclaration) -> Self:
        """Read the golden outputs that model.yaml names.

        Columns may have the names of the outputs or of the findings; columns that the declaration drops are left out. Raises
        ConfigError for a folder without a readable table or image, for unknown columns, and for values that are not numbers.
        """
        folder = declared.golden
        assert folder is not None
        path = folder / TABLE
        try:
            table = read_user_table(path, dtype={"image": str})
            images = tuple(read_gray(folder / Path(name).name) for name in table["image"])
        except (OSError, ValueError, KeyError, TypeError, UnreadableImage) as error:
            fix = "make the folder with `bench evaluate --write-golden FOLDER`"
            raise ConfigError(f"the golden outputs cannot be read: {error}", str(path), fix) from error
        outputs = declared.outputs
        named = {str(name): outputs.rename.get(str(name), str(name)) for name in table.columns if name != "image"}
        kept = {name: finding for name, finding in named.items() if name not in outputs.drop}
        if unknown := [name for name, finding in kept.items() if finding not in declared.output_index]:
            fix = ConfigError.suggestion(unknown[0], list(declared.output_index))
            raise ConfigError(f"the model has no output {unknown[0]!r}", f"{path}: columns", fix)
        output_NK = table[list(kept)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        if not output_NK.size or not np.isfinite(output_NK).all():
            raise ConfigError("the golden outputs are not all numbers", str(path), "give one number per cell")
        return cls(images, tuple(kept.values()), output_NK, str(path))

    @classmethod
    def of(cls, network: ImportedNetwork) -> Self:
        """Compute the golden outputs of a model on synthetic images."""
        settings = PhantomSettings(size=SIDE)
        people = [draw_patient(settings.seed, site, number) for number, site in enumerate(SITES, 1)]
        drawn = [render(settings, person, draw_study(person, 0)).image for person in people]
        images = tuple(np.rint(image * 255).astype(np.uint8) for image in drawn)
        columns = tuple(network.declared.output_index)
        without_outputs = cls(images, columns, np.empty((0, 0)), "")
        return replace(without_outputs, output_NK=without_outputs.outputs(network))

    def write(self, folder: Path) -> None:
        """Write the images and the table into a folder."""
        names = [f"phantom-{number}.png" for number in range(1, len(self.images) + 1)]
        for name, image in zip(names, self.images, strict=True):
            write_bytes(folder / name, cv2.imencode(".png", image)[1].tobytes())
        table = pd.DataFrame(self.output_NK, columns=list(self.columns))
        table.insert(0, "image", names)
        write_bytes(folder / TABLE, csv_text(table).encode())

    def check(self, network: ImportedNetwork) -> dict[str, Any]:
        """Compare the network's outputs with the golden outputs, and return the record of the comparison for the passport.

        Raises ConfigError if they differ. The record has the number of images, of outputs for each
        image, and the largest difference as a share of the standard deviation of the golden outputs of the finding.
        """
        output_NK = self.outputs(network)
        difference = float((np.abs(output_NK - self.output_NK) / self._spread()).max())
        if difference <= GOLDEN_TOLERANCE:
            return {"images": len(self.images), "outputs": len(self.columns), "difference": round(difference, 6)}
        worst = np.unravel_index(np.abs(output_NK - self.output_NK).argmax(), output_NK.shape)
        example = f"{self.columns[worst[1]]} is {output_NK[worst]:.4g} instead of {self.output_NK[worst]:.4g}"
        what = f"the outputs differ from the golden outputs (image {worst[0] + 1}: {example})"
        fix = (
            "correct model.yaml (mean and std, fit, interpolation, order of outputs.names, probabilities for logits), "
            "or write the golden outputs again if the model has changed"
        )
        raise ConfigError(what, self.where, fix)

    def _spread(self) -> Array:
        """Return the standard deviation [K] of the golden outputs over the images.

        Levels of findings differ much more than images, so findings taken together would hide a wrong normalization.
        """
        # one image has no spread over images, so its findings are compared with each other
        spread = self.output_NK.std(0) if len(self.output_NK) > 1 else self.output_NK.std()
        least_K = np.maximum(_LEAST_SPREAD * np.abs(self.output_NK).max(0), 1e-6)
        spread_K: Array = np.maximum(spread, least_K)
        return spread_K

    @torch.inference_mode()
    def outputs(self, network: ImportedNetwork) -> Array:
        """Return the outputs [N, K] of the network for the golden images, with the preprocessing that model.yaml declares."""
        given = network.declared.input
        assert given is not None
        fitted = np.stack([to_geometry(image, geometry(given.facts)) for image in self.images])
        device = next(iter(network.parameters()), torch.zeros(0)).device
        x_NCHW = declared_normalization(given)(torch.from_numpy(fitted).to(device))
        with ExactFloat32():
            output_NO, _ = network.outputs_and_features(x_NCHW)
        indices = [network.declared.output_index[finding] for finding in self.columns]
        chosen: Array = output_NO[:, indices].double().cpu().numpy()
        return chosen
