"""`bench data batch` shows a training batch exactly as the network gets it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.extensions.cohort_statistics.first_batch import FirstBatch
from bench.inputs.normalize import Normalizer
from bench.planning.image_caches import open_images
from bench.planning.plan import make_plan
from bench.store.store import Store
from harmonize.seeds import seed_for
from tests.conftest import Command


@pytest.mark.grid
def test_a_batch_is_written_as_the_network_gets_it(small: Callable[[str], Path], here: Command, tmp_path: Path) -> None:
    folder = small("chexnet")
    out = tmp_path / "batch"
    said = here("data", "batch", "chexnet-smoke", "--store", str(folder / "runs"), "-o", str(out), cwd=folder).stdout
    assert str(out / "index.html") in said
    grid = Grid.read("chexnet-smoke", Registry.read())
    plan = make_plan(grid, Registry.read(), Store(folder / "runs"), None, None, 1, "", lambda *_: None)
    run, internal = plan.runs[0], plan.refs[0]
    batch = FirstBatch.of(run, plan.store, internal)
    assert len(batch.image_id) == run.config.schedule.batch_size == len(list(out.glob("*.png")))
    # the same images, read, augmented and normalized without a training step
    cache, augment = open_images(plan.store, internal, run.geometry), run.entries["augmentation"]
    normalizer = Normalizer.of(run.preprocessing, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), run.config.channels, {})
    pixels = torch.from_numpy(cache.images[cache.rows(batch.image_id)])

    def augmented(x_N1HW: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = augment.load()(x_N1HW, seed=seed_for(0, "augment", 1, 0, 0), **augment.options)
        return changed

    assert torch.equal(batch.x_NCHW, normalizer(pixels, augmented))
    assert not torch.equal(batch.x_NCHW, normalizer(pixels))
    written = cv2.imread(str(out / "0003.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(written, batch.pictures[3])
    page = (out / "index.html").read_text()
    assert f"first channel, {batch.x_NCHW[:, 0].min():.3g} (black) to {batch.x_NCHW[:, 0].max():.3g} (white)" in page
    table = internal.read().set_index("image_id")
    for image_id, caption in zip(batch.image_id, batch.captions(run.config.findings), strict=True):
        present = [f for f in run.config.findings if table.loc[image_id, f] == 1]
        assert caption.partition(";")[0] == (", ".join(present) or "no finding present")
        assert f"{image_id}<br>{caption}" in page


def test_a_folder_with_files_is_refused(here: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    said = here("data", "batch", "tiny", "-o", str(tmp_path), cwd=tmp_path, code=2).stderr
    assert "the folder has files" in said
