"""AUROC of Pneumothorax with and without a chest drain: the annotations, what is refused, and the numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.extensions.drains import plan, store
from bench.extensions.drains.annotations import TABLE, read_drains, stored_drains, write_drains
from bench.extensions.drains.report_tables import _rows
from bench.extensions.drains.schemas import SCHEMAS
from bench.extensions.drains.sections import drains
from bench.scoring.scored_split import ScoredSplit, Settings
from bench.store.store import Store
from harmonize.cohorts.pooled import Place
from harmonize.errors import DatasetError, StoreError
from reports.report_data.report_data import read
from reports.tables import Tables
from tests import synthetic

STATES = {"a.png": True, "b.png": False, "c.png": None, "d.png": True}
IDS = pd.Series(["a.png", "b.png", "c.png", "x.png"])


def write_table(drains: dict[str, bool | None], folder: Path) -> None:
    """Write NEATX's table of PadChest from {image id: drain, None if the annotators disagree}."""
    codes = {True: 1, False: 0, None: -1}
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(image, 0, codes[state], 0, 0, 0) for image, state in drains.items()]
    columns = ["ImageID", "ImageDir", "Chest_drain", "NSG_tube", "Endotracheal_tube", "Tracheostomy_tube"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / TABLE)


@pytest.mark.parametrize("folder", ["padchest", "padchest/NEATX", "NEATX"])
def test_a_written_table_is_read_again_without_images_on_which_the_annotators_disagree(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "padchest").mkdir()
    assert read_drains(tmp_path / "padchest", IDS) == {}
    write_table(STATES, tmp_path / folder)
    assert read_drains(tmp_path / "padchest", IDS) == {"a.png": True, "b.png": False}


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda text: text.replace("b.png,0,0", "b.png,0,yes"), "line 3: Chest_drain is 'yes'"),
        (lambda text: text + "4,a.png,0,0,0,0,0\n", "line 6: a.png has another value in an earlier line"),
        (lambda text: text.replace("ImageID", "Image"), "no column 'ImageID'"),
        (lambda text: text.replace(".png", ".jpg"), "match 0 of 4"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_line(tmp_path: Path, damage: Callable[[str], str], what: str) -> None:
    write_table(STATES, tmp_path)
    text = (tmp_path / TABLE).read_text()
    assert damage(text) != text
    (tmp_path / TABLE).write_text(damage(text))
    with pytest.raises(DatasetError) as refused:
        read_drains(tmp_path, IDS)
    assert what in refused.value.what
    assert TABLE in refused.value.where
    assert refused.value.fix


def test_a_plan_keeps_the_drains_of_padchest_in_the_store(tmp_path: Path) -> None:
    write_table(STATES, tmp_path / "NEATX")
    planned = SimpleNamespace(
        store=Store.open(tmp_path / "runs"),
        refs=[SimpleNamespace(name=n, places=(Place(n, tmp_path / n),)) for n in ("padchest", "nih")],
        cohorts=dict.fromkeys(("padchest", "nih"), SimpleNamespace(table=pd.DataFrame({"image_id": IDS}))),
    )
    facts = plan.facts(planned)  # type: ignore[arg-type]
    assert list(facts["drains"]) == ["padchest"]
    name = facts["drains"]["padchest"]
    assert stored_drains(planned.store, name) == {"a.png": True, "b.png": False}
    assert name == write_drains(planned.store, {"b.png": False, "a.png": True})
    path = planned.store.root / "drains" / f"{name}.json"
    path.write_text('{"a.png": false}')
    with pytest.raises(StoreError, match="changed"):
        stored_drains(planned.store, name)
    assert [found for found, _, _ in store.problems(planned.store)] == [f"drains/{path.name}"]


def split(num: int = 400) -> tuple[ScoredSplit, dict[str, bool]]:
    """Return a split in which positives with a drain are easy to find, and its drains; a tenth is not annotated."""
    draw = np.random.default_rng(3)
    state = (draw.random((num, 2)) < 0.4).astype(np.int8)
    state[draw.random(num) < 0.1, 1] = -1
    drain = draw.random(num) < 0.5
    logit = draw.normal(size=(num, 2)) + 0.5 * (state == 1) + 1.5 * ((state == 1) & drain[:, None])
    images = np.array([f"i{k}" for k in range(num)], object)
    patients = np.array([f"p{k // 2}" for k in range(num)], object)
    drains = {str(image): bool(drain[k]) for k, image in enumerate(images) if k % 10}
    return ScoredSplit("padchest", "all", "report", images, patients, logit.astype(np.float32), state), drains


def test_positives_of_each_kind_are_compared_with_all_negatives() -> None:
    scored, known = split()
    rows = pd.DataFrame(_rows("r", scored, 1, known, Settings()), columns=list(SCHEMAS["drains"])).set_index("drain")
    label, logit = scored.labels()[:, 1], scored.logit[:, 1]
    of_image = np.array([known.get(str(image)) for image in scored.image_id], object)
    for name, level in (("with", True), ("without", False)):
        kept = (label == 0) | ((label == 1) & (of_image == level))
        assert rows.loc[name, "value"] == pytest.approx(roc_auc_score(label[kept], logit[kept]))
        assert rows.loc[name, "n"] == kept.sum()
        assert rows.loc[name, "num_positive"] == (label[kept] == 1).sum()
        assert rows.loc[name, "low"] < rows.loc[name, "value"] < rows.loc[name, "high"]
    assert rows.loc["difference", "value"] == pytest.approx(rows.loc["with", "value"] - rows.loc["without", "value"])
    assert 0 < rows.loc["difference", "low"] < rows.loc["difference", "value"] < rows.loc["difference", "high"]


def test_too_few_patients_give_no_number() -> None:
    scored, known = split()
    few = {image: drain for image, drain in known.items() if not drain}
    rows = pd.DataFrame(_rows("r", scored, 1, few, Settings()), columns=list(SCHEMAS["drains"])).set_index("drain")
    assert rows["value"].notna().to_dict() == {"with": False, "without": True, "difference": False}
    assert np.isnan(rows.loc["difference", "low"])


def test_two_perfect_separations_have_a_difference_with_an_interval_and_all_images_are_counted() -> None:
    scored, known = split()
    perfect = replace(scored, logit=scored.state.astype(np.float32) * 9)
    *_, (*_, value, low, high, num, _) = _rows("r", perfect, 1, known, Settings())
    assert value == 0
    assert -0.1 < low < 0 < high < 0.1
    unannotated = sum(
        image not in known for image, state in zip(scored.image_id, scored.state[:, 1], strict=True) if state == 1
    )
    assert num == (scored.labels()[:, 1] >= 0).sum() - unannotated


@pytest.mark.slow
def test_the_difference_of_a_network_that_ignores_drains_is_0_in_95_of_100_intervals() -> None:
    """In 300 samples, an interval of 95 % holds 0 in 90 to 99 % (beyond four standard errors of 1.26 %)."""
    draw, hits, num = np.random.default_rng(11), 0, 300
    for sample in range(num):
        state = (draw.random((300, 1)) < 0.4).astype(np.int8)
        logit = draw.normal(size=(300, 1)) + 0.8 * state
        images = np.array([f"i{k}" for k in range(300)], object)
        patients = np.array([f"{sample}p{k // 2}" for k in range(300)], object)
        scored = ScoredSplit("padchest", "all", "report", images, patients, logit.astype(np.float32), state)
        known = {str(image): bool(draw.random() < 0.5) for image in images}
        *_, (_, _, _, _, _, low, high, *_) = _rows("r", scored, 0, known, Settings(num_resamples=320))
        hits += low <= 0 <= high
    assert 0.90 <= hits / num <= 0.99


def test_the_section_states_both_aurocs_and_is_missing_without_annotations() -> None:
    study = synthetic.tables(synthetic.Invented(runs=3))
    assert not drains(read(study)).html
    run, dataset = synthetic.ranked_ids(study)[0], read(study).hospitals[0].key
    scored, known = split()
    rows = [replace_ids(row, run, dataset) for row in _rows("r", scored, 1, known, Settings())]
    table = pd.DataFrame(rows, columns=list(SCHEMAS["drains"]))
    page = str(drains(read(Tables(study.meta, {**study.frames, "drains": table}))).html)
    first, second = (f"{row[4]:.3f}".removeprefix("0") for row in rows[:2])
    assert f"AUROC {first} with a chest drain, {second} without one" in page
    assert "with all negatives" in page


def replace_ids(row: tuple, run: str, dataset: str) -> tuple:
    return (run, dataset, *row[2:])
