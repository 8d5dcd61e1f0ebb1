"""`bench errors` and `bench card`, as a user starts them on a finished grid."""

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from bench.results.worst_errors import mistakes
from bench.store.store import Store
from bench.system.disclaimer import TRAINED_ON_SYNTHETIC
from harmonize.errors import ConfigError
from reports.formatting import with_interval
from reports.html.markdown import escaped
from tests.conftest import Command

pytestmark = pytest.mark.grid


@pytest.fixture(scope="module")
def store(finished: Path) -> Store:
    return Store.open(finished / "runs", create=False)


def first_of(store: Store) -> str:
    return store.run_ids()[0]


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [("--cohort", "brix", "unknown value of --cohort: 'brix'"), ("--kind", "tp", "unknown value of --kind: 'tp'")],
)
def test_a_wrong_request_says_what_to_do(
    option: str, value: str, what: str, store: Store, finished: Path, here: Command
) -> None:
    said = here("errors", first_of(store), option, value, cwd=finished, code=2).stderr
    assert what in said
    assert "Traceback" not in said


def test_the_listed_errors_are_those_of_the_confusion_matrix_and_the_surest_come_first(store: Store) -> None:
    run_id = first_of(store)
    confusion = pd.read_parquet(store.root / "scores" / run_id / "confusion.parquet")
    confusion = confusion[confusion["operating_point"] == "youden"].set_index(["dataset", "split", "finding"])
    everything = mistakes(store, run_id, rule="youden", most=10**6)
    counted = everything.groupby(["dataset", "split", "finding", "kind"]).size()
    for place, row in confusion.iterrows():
        assert counted.get((*place, "fp"), 0) == row["false_positive"]  # type: ignore[misc]
        assert counted.get((*place, "fn"), 0) == row["false_negative"]  # type: ignore[misc]
    assert everything["surprise"].dropna().is_monotonic_decreasing
    missed = everything[(everything["dataset"] == "nih") & (everything["kind"] == "fn")]
    finding = str(missed["finding"].value_counts().index[0])
    few = mistakes(store, run_id, cohort=["nih"], finding=[finding], kind="fn", rule="youden", most=3)
    assert len(few) == min(3, int((missed["finding"] == finding).sum()))
    assert (few["logit"] < few["threshold"]).all()
    (path,) = store.root.glob("cohorts/nih-*.parquet")
    labels = pd.read_parquet(path).set_index("image_id")[finding]
    assert (labels[few["image_id"]] == 1).all()
    with pytest.raises(ConfigError, match="unknown value of --finding: 'Gout'"):
        mistakes(store, run_id, finding=["Gout"])


def test_errors_are_printed_for_people_and_programs(store: Store, finished: Path, here: Command) -> None:
    run_id = first_of(store)
    lines = here("errors", run_id, "-n", "4", cwd=finished).stdout.splitlines()
    assert len(lines) == 6
    assert lines[0] == TRAINED_ON_SYNTHETIC
    table = pd.read_csv(io.StringIO(here("errors", run_id, "-n", "4", "--csv", cwd=finished).stdout), dtype=str)
    rows = json.loads(here("errors", run_id, "-n", "4", "--json", cwd=finished).stdout)
    assert table["image_id"].tolist() == [row["image_id"] for row in rows]


def test_every_run_has_a_card_beside_its_weights(store: Store, finished: Path, here: Command) -> None:
    run_id = first_of(store)
    path = store.run_dir(run_id) / "MODEL_CARD.md"
    text = path.read_text()
    assert "not for clinical use" in text
    assert "synthetic images" in text
    seal = json.loads((store.run_dir(run_id) / "seal.json").read_text())
    assert seal["weights_after"] in text
    scores = pd.read_parquet(store.root / "scores" / run_id / "scores.parquet")
    mean = scores.query("dataset == 'nih' and metric == 'auroc' and finding == 'macro' and calibrator == 'none'").iloc[
        0
    ]
    assert f"{mean['value']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]" in text
    for table in re.split(r"\n\n", text):
        if table.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    of_page = pd.read_parquet(finished / "runs" / "report" / "tiny" / "tables" / "next_hospital.parquet")
    [new] = of_page.query("metric == 'auroc' and finding == 'macro'").to_dict("records")
    expected = with_interval(new["value"], new["new_low"], new["new_high"])
    assert f"At a new hospital like the external ones, expect a mean AUROC of {expected} (95 % prediction" in text
    assert str(path.relative_to(finished)) in here("card", run_id, cwd=finished).stdout
    assert path.read_text() == text


def test_a_name_cannot_become_markup() -> None:
    assert escaped("<script>a|b`\n# c") == r"&lt;script&gt;a\|b\` # c"


def test_mistakes_name_the_file_of_each_image(finished: Path, here: Command) -> None:
    run_id = Store.open(finished / "runs", create=False).run_ids()[0]
    rows = json.loads(here("errors", run_id, "--cohort", "nih", "-n", "5", "--json", cwd=finished).stdout)
    (root,) = (finished / "runs" / "phantom").glob("*/nih")
    assert rows
    assert all((root / row["path"]).is_file() for row in rows)
    assert {row["kind"] for row in rows} <= {"fp", "fn"}
