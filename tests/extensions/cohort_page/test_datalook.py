"""Pictures of every preprocessing variant, for the page of `bench data stats`."""

from pathlib import Path

import cv2
import numpy as np

from bench.config.registry import Registry
from bench.extensions.cohort_page.data_pictures import looks, variants
from bench.extensions.cohort_page.statistics.image_sample import draw
from tests.hand import ROWS, cohort


def test_every_preprocessing_entry_has_a_picture_of_every_image(tmp_path: Path) -> None:
    registry = Registry.read()
    chosen = variants(registry)
    assert sorted(name for v in chosen for name in v.names) == sorted(registry.sections["preprocessing"])
    cohorts, samples = {}, {}
    for name, bright in (("internal", 255), ("far", 120)):
        root = tmp_path / name
        root.mkdir()
        for k in range(len(ROWS)):
            image = np.random.default_rng(k).integers(0, bright, (70, 80)).astype(np.uint8)
            cv2.imwrite(str(root / f"i{k}.png"), cv2.GaussianBlur(image, (0, 0), 5))
        cohorts[name] = cohort(root=root)
        forms = list({v.form.key: v.form for v in chosen}.values())
        samples[name] = draw(cohorts[name], show=2, transform=2, forms=forms)
    made = looks(cohorts, samples, chosen)
    for look in made.values():
        assert [[p.words for p in row] for row in look.after] == [[v.names[0] for v in chosen]] * 2
    pictures = [p.uri for p in made["internal"].after[0]]
    names = [v.names[0] for v in chosen]
    learned = [pictures[names.index(name)] for name in ("histstd_64", "histmatch_64", "imagenet_64")]
    assert len(set(learned)) == 3
