"""Golden outputs: the outputs of an imported model on a few synthetic images, as its owner computed them.

A folder of golden outputs has PNG images and `outputs.csv`, a table with one row for each image: its file name in the
column `image`, and one column for each finding. The outputs are raw, as `outputs.kind` in model.yaml states. They are
compared before the model is tested. If they differ, the usual mistakes are tried to find the cause.

Legend: N images, C channels, K findings with golden outputs, O outputs of the network.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.config.preprocessing_ops import geometry
from bench.extensions.imported.declaration import Input, ModelDeclaration
from bench.extensions.imported.networks import ImportedNetwork, declared_normalization
from bench.models.predict import ExactFloat32
from bench.planning.imported_run import GOLDEN_TOLERANCE
from bench.store.safe_csv import csv_text
from bench.store.store import write_bytes
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import FITS, INTERPOLATIONS, Gray, read_gray, to_geometry
from harmonize.phantom.patient import draw_patient, draw_study
from harmonize.phantom.radiograph import render
from harmonize.phantom.settings import PhantomSettings

Array = NDArray[np.float64]

TABLE = "outputs.csv"
SITES = ("chexpert", "mimic", "nih", "padchest", "vindr", "brax")  # one image of each synthetic hospital
SIDE = 512  # long side of the images, px
_LEAST_SPREAD = 1e-3  # least standard deviation, as a share of the largest output of the finding: above rounding errors
SCALES = {  # usual input scales: name -> mean, std of images in [0, 1]
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP's mean and std": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "values from 0 to 1": ((0.0,) * 3, (1.0,) * 3),
    "values from -1 to 1": ((0.5,) * 3, (0.5,) * 3),
    "values from 0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
    "values from -1024 to 1024": ((0.5,) * 3, (1 / 2048,) * 3),
    "mean 0.5307 and std 0.2583 (RAD-DINO)": ((0.5307,) * 3, (0.2583,) * 3),
    "mean 0.5056 and std 0.252 (MIMIC-CXR)": ((0.5056,) * 3, (0.252,) * 3),
}


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
        assert network.declared.input is not None
        return replace(without_outputs, output_NK=without_outputs.outputs(network, network.declared.input))

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

        Raises ConfigError, with the likely cause, if they differ. The record has the number of images, of outputs for each
        image, and the largest difference as a share of the standard deviation of the golden outputs of the finding.
        """
        given = network.declared.input
        assert given is not None
        output_NK = self.outputs(network, given)
        if self._same(output_NK):
            difference = round(self._difference(output_NK), 6)
            return {"images": len(self.images), "outputs": len(self.columns), "difference": difference}
        cause = self._cause(network, given, output_NK)
        worst = np.unravel_index(np.abs(output_NK - self.output_NK).argmax(), output_NK.shape)
        example = f"{self.columns[worst[1]]} is {output_NK[worst]:.4g} instead of {self.output_NK[worst]:.4g}"
        what = f"the outputs differ from the golden outputs (image {worst[0] + 1}: {example})"
        fix = "correct model.yaml, or write the golden outputs again if the model has changed"
        raise ConfigError(f"{what}. {cause[0]}" if cause else what, cause[1] if cause else self.where, fix)

    def _same(self, output_NK: Array) -> bool:
        return self._difference(output_NK) <= GOLDEN_TOLERANCE

    def _difference(self, output_NK: Array) -> float:
        """Return the largest difference from the golden outputs as a share of the standard deviation of the finding."""
        return float((np.abs(output_NK - self.output_NK) / self._spread()).max())

    def _spread(self) -> Array:
        """Return the standard deviation [K] of the golden outputs over the images.

        Levels of findings differ much more than images, so findings taken together would hide a wrong normalization.
        """
        # one image has no spread over images, so its findings are compared with each other
        spread = self.output_NK.std(0) if len(self.output_NK) > 1 else self.output_NK.std()
        least_K = np.maximum(_LEAST_SPREAD * np.abs(self.output_NK).max(0), 1e-6)
        spread_K: Array = np.maximum(spread, least_K)
        return spread_K

    def _cause(self, network: ImportedNetwork, given: Input, output_NK: Array) -> tuple[str, str] | None:
        """Return the likely cause as a sentence, and the key to correct; None if no usual mistake explains the outputs."""
        where = network.declared.where
        if order := self._order(output_NK):
            return (
                f"Likely cause: the outputs have another order; the golden outputs fit {order}",
                f"{where}: outputs.names",
            )
        if self._same(1 / (1 + np.exp(-output_NK))):
            return "Likely cause: the golden outputs are probabilities, but the network returns logits", self.where
        if (output_NK > 0).all() and (output_NK < 1).all() and self._same(np.log(output_NK) - np.log1p(-output_NK)):
            return "Likely cause: the golden outputs are logits, but the network returns probabilities", self.where
        for sentence, key, mistake, inverted in self._mistakes(given):
            try:
                tried_NK = self.outputs(network, mistake, inverted=inverted)
            except (ConfigError, RuntimeError, ValueError):  # the network does not take such an input
                continue
            order = self._order(tried_NK)
            if self._same(tried_NK) or order:
                more = f"; the order of the outputs is wrong, too: they fit {order}" if order else ""
                return f"Likely cause: {sentence}{more}", f"{where}: preprocessing.{key}"
        return None

    def _order(self, output_NK: Array) -> str:
        """Return another order of the findings with which the outputs are equal to the golden outputs, "" if there is none."""
        # golden finding, network's finding
        apart_KK = np.abs(self.output_NK[:, :, None] - output_NK[:, None, :]).max(0)
        chosen = apart_KK.argmin(1)
        equal = (
            len(set(chosen.tolist())) == len(chosen) and (apart_KK.min(1) <= GOLDEN_TOLERANCE * self._spread()).all()
        )
        if not equal or (chosen == np.arange(len(chosen))).all():
            return ""
        moved = [(self.columns[k], self.columns[j]) for k, j in enumerate(chosen.tolist()) if k != j]
        return ", ".join(f"{ours} in place of {theirs}" for ours, theirs in moved)

    @staticmethod
    def _mistakes(given: Input) -> Iterator[tuple[str, str, Input, bool]]:
        """Yield the usual mistakes: sentence, key of `preprocessing`, the input without the mistake, whether to invert gray."""
        if len(set(given.mean)) > 1 or len(set(given.std)) > 1:
            swapped = replace(given, mean=given.mean[::-1], std=given.std[::-1])
            yield "mean and std are in the wrong channel order (RGB or BGR)", "mean", swapped, False
        for name, (mean, std) in SCALES.items():
            triples = (tuple(map(float, mean)), tuple(map(float, std)))
            if triples != (given.mean, given.std):
                scaled = replace(given, mean=triples[0], std=triples[1])  # type: ignore[arg-type]
                yield f"wrong normalization; the golden outputs fit {name}", "mean", scaled, False
        for fit in FITS:
            if fit != given.fit:
                yield f"wrong fit; the golden outputs fit `fit: {fit}`", "fit", replace(given, fit=fit), False
        for interpolation in INTERPOLATIONS:
            if interpolation != given.interpolation:
                stated = f"`interpolation: {interpolation}`" if interpolation else "no `interpolation`"
                resized = replace(given, interpolation=interpolation)
                yield f"wrong resize; the golden outputs fit {stated}", "interpolation", resized, False
        yield "black and white are swapped; the golden outputs fit inverted images", "range", given, True

    @torch.inference_mode()
    def outputs(self, network: ImportedNetwork, given: Input, *, inverted: bool = False) -> Array:
        """Return the outputs [N, K] of the network for the golden images, with the preprocessing `given`."""
        fitted = np.stack([to_geometry(image, geometry(given.facts)) for image in self.images])
        device = next(iter(network.parameters()), torch.zeros(0)).device
        x_NCHW = declared_normalization(given)(torch.from_numpy(255 - fitted if inverted else fitted).to(device))
        with ExactFloat32():
            output_NO, _ = network.outputs_and_features(x_NCHW)
        indices = [network.declared.output_index[finding] for finding in self.columns]
        chosen: Array = output_NO[:, indices].double().cpu().numpy()
        return chosen
