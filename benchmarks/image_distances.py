"""Measure whether the distances of images to the internal images find images that are known to be different.

    bench run --grid demo --store runs
    python benchmarks/image_distances.py runs

The store has runs that were trained on phantoms of one hospital. The script draws new phantoms of this hospital, and changes one
property of each: the scanner, the view, the age, or the gray values. It prints one row for each change: the AUROC of each
distance, where changed images are positive and the unchanged images of the same patients are negative, and the share of changed
images beyond the 99th percentile. The AUROC is the mean over the runs; its 95 % interval is over patients, and the networks
are fixed. In the first row, nothing is changed: the images are of other patients of the same hospital, so the AUROC should be .5 and the
share at most 1 %.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.inputs.batches import BatchReader
from bench.planning.manifest import planned
from bench.runs.stored_run import StoredRun, load, logits_and_features
from bench.scoring.area_intervals import ClassSizes, area_interval
from bench.scoring.column import Column
from bench.scoring.image_distances import FAR, METHODS, ImageDistances
from bench.scoring.influence import error_of
from bench.scoring.metrics import auroc
from bench.scoring.sample import Sample
from bench.store.store import Store
from harmonize.images.image_header import InMemory
from harmonize.images.pixels import read_radiograph, to_geometry
from harmonize.phantom import PhantomSettings, twin
from harmonize.phantom.drawing import Map
from harmonize.phantom.patient import draw_patient, draw_study
from harmonize.phantom.radiograph import views
from harmonize.phantom.sites import SITES

Gray = NDArray[np.uint8]

FIRST_PATIENT = 10_000_000  # the patients of a store have lower numbers
YOUNG, OLD = 40, 80  # ages in years


def stored_as(image: Map, site: str) -> Gray:
    """Return the pixels of an image after the file format of a hospital, with 8 bits."""
    quality = SITES[site].jpeg_quality
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if quality else []
    content = cv2.imencode(".jpg" if quality else ".png", np.rint(image * 255).astype(np.uint8), options)[1]
    return read_radiograph(InMemory("phantom", content.tobytes()))


def groups(settings: PhantomSettings, num: int) -> Iterator[tuple[str, list[Gray], list[int]]]:
    """Yield (change, images, patient of each image); the unchanged images are first."""
    internal = settings.source
    patients = list(range(FIRST_PATIENT, FIRST_PATIENT + num))

    def drawn(site: str, number: int, **changes: str) -> Gray:
        return stored_as(twin(settings, site, number, **changes).image, changes.get("scanner", site))

    def aged(is_chosen: Callable[[int], bool]) -> list[int]:
        numbers = iter(range(FIRST_PATIENT + 2 * num, FIRST_PATIENT + 10**6))
        return [next(n for n in numbers if is_chosen(draw_patient(settings.seed, internal, n).age)) for _ in range(num)]

    unchanged = [drawn(internal, number) for number in patients]
    yield "", unchanged, patients
    others = [number + num for number in patients]
    yield "nothing (other patients)", [drawn(internal, number) for number in others], others
    for text, numbers in (
        (f"age below {YOUNG}", aged(lambda age: age < YOUNG)),
        (f"age {OLD} or above", aged(lambda age: age >= OLD)),
    ):
        yield text, [drawn(internal, number) for number in numbers], numbers
    yield "view: all AP", [drawn(internal, number, view="AP") for number in patients], patients
    yield "view: all PA", [drawn(internal, number, view="PA") for number in patients], patients
    people = [draw_patient(settings.seed, internal, number) for number in patients]
    lateral = [list(views(settings, person, draw_study(person, 0), lateral=True))[1].image for person in people]
    yield "view: lateral", [stored_as(image, internal) for image in lateral], patients
    for site in SITES:
        if site != internal:
            yield f"scanner of {site}", [drawn(internal, number, scanner=site) for number in patients], patients
    for site in SITES:
        if site != internal:
            yield f"patients and scanner of {site}", [drawn(site, number) for number in patients], others
    yield "inverted gray values", [255 - image for image in unchanged], patients
    yield "turned by 90 degrees", [np.rot90(image) for image in unchanged], patients


def measured(stored: StoredRun, images: list[Gray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances and the percentiles [N, 3] of images."""
    assert isinstance(stored.fitted, ImageDistances)
    pixels = np.stack([to_geometry(image, stored.geometry) for image in images])
    reader, rows = BatchReader(pixels, stored.device), np.arange(len(pixels))
    feature_ND = logits_and_features(stored, lambda _geometry: (reader, rows))[1]
    assert feature_ND is not None
    return stored.fitted.reference.distances(feature_ND), stored.fitted.percentiles(feature_ND)


def share(value: float) -> str:
    """Return a number from 0 to 1 with two digits and without the leading zero."""
    return f"{value:.2f}".removeprefix("0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--patients", type=int, default=300, help="in each group")
    options = parser.parse_args()
    store = Store.open(options.store, create=False)
    runs = [load(store, run_id) for run_id in store.run_ids()]
    runs = [stored for stored in runs if isinstance(stored.fitted, ImageDistances)]
    chosen = planned(store, runs[0].id, None)[0].phantom_settings
    assert chosen is not None
    settings = PhantomSettings(
        seed=chosen.seed, source=runs[0].run.config.train_on, size=chosen.size, shortcut=chosen.shortcut
    )
    print(f"{len(runs)} runs, {options.patients} patients in each group\n")
    print(f"| change | {' | '.join(f'AUROC, {m}' for m in METHODS)} | {' | '.join(f'far, {m}' for m in METHODS)} |")
    print(f"|---|{'---|' * 2 * len(METHODS)}")
    internal_ids: list[int] = []
    internal_distances: list[NDArray[np.float64]] = []
    for change, images, ids in groups(settings, options.patients):
        results = [measured(stored, images) for stored in runs]
        if not change:
            internal_ids, internal_distances = ids, [distance_N3 for distance_N3, _ in results]
            continue
        sample = Sample.of(np.array([*internal_ids, *ids], dtype=str))
        label_N = np.repeat(np.array([0, 1], np.int8), [len(internal_ids), len(ids)])
        label_N3 = np.repeat(label_N[:, None], len(METHODS), axis=1)
        values, influences = [], []
        for internal_N3, (changed_N3, _) in zip(internal_distances, results, strict=True):
            distance_N3 = np.concatenate([internal_N3, changed_N3]).astype(np.float32)
            values.append([auroc(label_N, distance_N) for distance_N in distance_N3.T])
            columns = [Column.of(sample.patient, label_N, distance_N) for distance_N in distance_N3.T]
            influences.append([sample.sums(column.auroc()[1], column.rows) for column in columns])
        value_3 = np.mean(values, axis=0)
        sizes = ClassSizes.of_labels(label_N3, sample.patient)
        low_3, high_3 = area_interval("auroc", value_3, error_of(np.mean(influences, axis=0)), sizes)
        far_3 = np.mean([percentile_N3 > FAR for _, percentile_N3 in results], axis=(0, 1))
        cells = [f"{share(v)} [{share(a)}, {share(b)}]" for v, a, b in zip(value_3, low_3, high_3, strict=True)]
        print(f"| {change} | {' | '.join(cells)} | {' | '.join(f'{100 * far:.0f} %' for far in far_3)} |", flush=True)


if __name__ == "__main__":
    main()
