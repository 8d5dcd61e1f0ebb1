"""Images that would make an external test dishonest, and cohorts that cannot be read."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import analysis_jobs
from bench.planning.plan import Plan, make_plan
from bench.planning.protocol import internal_split
from bench.store.store import Store
from harmonize.errors import ConfigError, DatasetError
from tests.unit.bench.planning.test_plan import GRID, MAPPING, patients, plan, silent, write_cohort


def distinct(root: Path) -> None:
    """Give every image of a cohort its own pixels."""
    import cv2
    import numpy as np

    for i, path in enumerate(sorted(root.glob("*.png"))):
        draw = np.random.default_rng([i, *root.name.encode()])
        cv2.imwrite(str(path), draw.integers(0, 255, (70, 80)).astype(np.uint8))


def made(tmp_path: Path) -> Plan:
    planned = plan(tmp_path, patients(60))
    for name in ("internal", "far"):
        distinct(tmp_path / name)
    return planned


def test_cohorts_without_common_images_pass(tmp_path: Path) -> None:
    images = prepare(made(tmp_path), 1, silent)
    assert images.count_duplicates() == 0
    assert images.compared()[1].lists == {}


def test_an_internal_image_in_an_external_cohort_stops_the_grid(tmp_path: Path) -> None:
    planned = made(tmp_path)
    (tmp_path / "far" / "0.png").write_bytes((tmp_path / "internal" / "7.png").read_bytes())
    with pytest.raises(
        DatasetError, match=r"1 images of far are copies of images of internal \(1 exact\), e.g. 0.png = 7.png"
    ):
        prepare(planned, 1, silent).compared()


def test_one_picture_of_two_patients_in_two_splits_is_counted(tmp_path: Path) -> None:
    planned = made(tmp_path)
    content = (tmp_path / "internal" / "0.png").read_bytes()
    for i in range(1, 20):
        (tmp_path / "internal" / f"{i}.png").write_bytes(content)
    assert prepare(planned, 1, silent).count_duplicates() == 20


def pool(folder: Path, exclude: str = "", **copied: str) -> Plan:
    """Plan a leave-one-out grid on the cohorts a, b and c; each name in `copied`, such as "a0", gets the image of another."""
    (folder / "mapping.yaml").write_text(MAPPING)
    for name in "abc":
        if not (folder / name).is_dir():
            write_cohort(folder / name, patients(60).assign(patient=[f"{name}{i}" for i in range(60)]))
            distinct(folder / name)
    for copy, original in copied.items():
        path = folder / copy[0] / f"{copy[1:]}.png"
        path.write_bytes((folder / original[0] / f"{original[1:]}.png").read_bytes())
    entry = "{layout: table, root: %s, table: table.csv, mapping: mapping.yaml%s}\n"
    lines = [f"{name}: {entry % (name, exclude if name == 'a' else '')}" for name in "abc"]
    (folder / "data.yaml").write_text("".join(lines))
    grid = GRID.replace("internal", "[a, b, c]").replace("[far]", "[]") + "leave_one_out: true\n"
    (folder / "grid.yaml").write_text(grid)
    registry = Registry.read()
    asked, store = Grid.read(str(folder / "grid.yaml"), registry), Store.open(folder / "runs")
    return make_plan(asked, registry, store, folder / "data.yaml", None, 1, "bench run", silent)


def test_a_copy_at_the_hospital_that_a_run_leaves_out_stops_the_grid(tmp_path: Path) -> None:
    images = prepare(pool(tmp_path), 1, silent)
    assert images.count_duplicates() == 0
    assert images.compared()[1].lists == {}
    images = prepare(pool(tmp_path, b3="c5", a7="b9", a8="b9"), 1, silent)
    with pytest.raises(DatasetError) as error:
        images.compared()
    assert "2 images of a are copies of images of other training hospitals, e.g. a/7.png = b/9.png" in error.value.what
    assert "1 images of b are copies of images of other training hospitals, e.g. b/3.png = c/5.png" in error.value.what
    listed = pd.read_csv(tmp_path / "runs" / "cohorts" / "copies-a.csv")
    assert listed.to_dict("list") == {"image_id": ["7.png", "8.png"], "copy_of": ["b/9.png", "b/9.png"]}
    distinct(tmp_path / "b")
    exclude = f", exclude: [{tmp_path / 'runs' / 'cohorts' / 'copies-a.csv'}]"
    without = prepare(pool(tmp_path, exclude), 1, silent)
    assert len(without.plan.cohorts["a+b+c"].table) == 178
    without.compared()


def test_a_copy_in_two_training_hospitals_is_counted_whichever_hospital_a_run_leaves_out(tmp_path: Path) -> None:
    planned = pool(tmp_path)
    first, table = planned.runs[0].config, planned.cohorts["a+b+c"].table
    one, other = (name for name in "abc" if name != first.leave_out)
    split = internal_split(table, first).set_axis(table["image_id"])
    number = next(i for i in range(60) if split[f"{one}/{i}.png"] == split[f"{other}/{i}.png"] == "train")
    planned = pool(tmp_path, **{f"{one}{number}": f"{other}{number}"})
    assert prepare(planned, 1, silent).count_duplicates() == 2


def test_an_analysis_of_the_cohorts_leaves_out_only_a_hospital_on_which_no_run_trains(tmp_path: Path) -> None:
    planned = pool(tmp_path)
    [whole] = [job for job in analysis_jobs(planned, planned.runs) if not job.analysis.kind.per_run]
    assert whole.run.config.leave_out == ""
    assert whole.run.id == planned.runs[0].id
    same = [replace(planned, runs=(run,)) for run in planned.runs]
    [[one], [two], _] = [[job for job in analysis_jobs(one, one.runs) if not job.analysis.kind.per_run] for one in same]
    assert one.run.config.leave_out == planned.runs[0].config.leave_out != ""
    assert len({job.folder for job in (whole, one, two)}) == 3  # they have different images


def test_a_cohort_without_a_readable_image_is_named_before_anything_trains(tmp_path: Path) -> None:
    planned = made(tmp_path)
    for path in (tmp_path / "far").glob("*.png"):
        path.write_bytes(b"junk")
    with pytest.raises(DatasetError, match="no image of far can be read"):
        prepare(planned, 1, silent)


def test_a_hospital_cannot_be_its_own_external(tmp_path: Path) -> None:
    write_cohort(tmp_path / "internal", patients(60))
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "grid.yaml").write_text(GRID)
    entry = "{layout: table, root: internal, table: table.csv, mapping: mapping.yaml}\n"
    (tmp_path / "data.yaml").write_text(f"internal: {entry}far: {entry}")
    registry = Registry.read()
    with pytest.raises(ConfigError, match="the same files"):
        make_plan(
            Grid.read(str(tmp_path / "grid.yaml"), registry), registry, Store.open(tmp_path / "runs"),
            tmp_path / "data.yaml", None, 1, "bench run", silent,
        )  # fmt: skip


def test_a_title_in_the_label_table_does_not_re_key_a_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import copy

    from harmonize.cohorts import cohort as module
    from harmonize.cohorts import label_mapping
    from harmonize.labels.findings import labels_yaml

    planned = plan(tmp_path, patients(60))
    before = planned.cohorts["internal"].id
    nih = module.Cohort(
        "nih",
        "nih",
        tmp_path,
        pd.DataFrame({"image_id": ["a"], "Edema": [1.0]}),
        pd.DataFrame(),
        {},
        False,
        planned.cohorts["internal"].spec,
    )
    object.__setattr__(nih, "spec", module.CohortSpec("nih", "nih", tmp_path))
    first = nih.id
    changed = copy.deepcopy(labels_yaml())
    changed["datasets"]["nih"]["title"] = "Another title"
    changed["datasets"]["nih"]["findings"]["Edema"]["reason"] = "another reason"
    for reader in (module, label_mapping):
        monkeypatch.setattr(reader, "labels_yaml", lambda: changed)
    again = module.Cohort("nih", "nih", tmp_path, nih.table, nih.quarantine, {}, False, nih.spec)
    assert again.id == first
    changed["datasets"]["nih"]["findings"]["Edema"]["native"] = ["Oedema"]
    third = module.Cohort("nih", "nih", tmp_path, nih.table, nih.quarantine, {}, False, nih.spec)
    assert third.id != first
    assert before


@pytest.mark.slow
def test_where_no_lungs_were_found_is_said_of_every_cohort(tmp_path: Path) -> None:
    grid = GRID.replace("imagenet_64", "adaptive_roi_hist_64")
    planned = plan(tmp_path, patients(60), grid=grid)
    for name in ("internal", "far"):
        distinct(tmp_path / name)
    prepared = prepare(planned, 1, silent)
    said = prepared.fallbacks
    assert [line.split(":")[0] for line in said] == [f"{n} (64-squash-adaptive_roi0.1)" for n in ("internal", "far")]
    assert all(re.search(r"no lungs found in \d+\.\d % of the images", line) for line in said)
    assert len(prepared.wrong_views) == 2  # noise
    assert re.fullmatch(
        r"internal: \d+ of 60 images are unlike frontal radiographs; most look.*", prepared.wrong_views[0]
    )
