"""Heat maps of an image by a stored run on a device, as `bench explain` draws them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bench import api
from tests.nonempty import nonempty
from tests.untrained_run import finished_run, write_radiograph


def test_heat_maps_on_a_device_are_those_of_the_cpu(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("bench.extensions.heat_maps")
    store, run = finished_run(tmp_path)
    found, expected = (
        api.explain(api.load_run(store.root, run.id, device=name), write_radiograph(tmp_path), ["Edema", "Pneumonia"])
        for name in (str(device), "cpu")
    )
    for ours, theirs in nonempty(zip(found.finding_maps, expected.finding_maps, strict=True)):
        assert ours.finding == theirs.finding
        assert ours.logit == pytest.approx(theirs.logit, abs=5e-3)  # convolutions may round to TF32
        np.testing.assert_allclose(ours.heat / ours.heat.max(), theirs.heat / theirs.heat.max(), atol=0.05)
