"""`bench register`, and what report, check and bundles do with a registration."""

import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import api
from bench.extensions.registration.registrations import registered, write_next
from bench.store.checked_files import read_grid, write_grid
from bench.store.store import Store
from harmonize.errors import ConfigError
from tests.conftest import Command, Drawn

pytestmark = pytest.mark.grid
HOSTILE = "<script>alert(1)</script>"
HYPOTHESES = f"""
- name: gap
  statement: The network has a lower AUROC at external hospitals.
  check: {{metric: gap, above: 0}}
- name: at-nih
  statement: The network has a higher AUROC at NIH.
  check: {{metric: gap, at: nih, below: 0}}
- name: {HOSTILE}
  statement: Networks use {HOSTILE}.
"""


@pytest.fixture(scope="module")
def plan(drawn: Drawn, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the phantoms of the grid `tiny` and a registration of it; nothing is trained."""
    folder = drawn("tiny", tmp_path_factory.mktemp("plan") / "plan")
    (folder / "hypotheses.yaml").write_text(HYPOTHESES)
    command("register", "--grid", "tiny", "--hypotheses", "hypotheses.yaml", "--quiet", cwd=folder)
    return folder


@pytest.fixture
def study(plan: Path, store_copy: Path) -> Path:
    """A copy of the finished grid `tiny`, which was registered before it was run."""
    shutil.copytree(plan / "runs" / "registrations", store_copy / "runs" / "registrations")
    return store_copy


@pytest.fixture
def unregistered(plan: Path, tmp_path: Path) -> Path:
    """A copy of the folder `plan`, that a test may change."""
    return shutil.copytree(plan, tmp_path / "unregistered", symlinks=True)


def reported(here: Command, folder: Path, grid: str = "tiny", store: str = "runs") -> tuple[dict[str, Any], str]:
    """Return what the report states about the only registration, and the text of its section."""
    here("report", "--grid", grid, "--store", store, "--quiet", cwd=folder)
    report = folder / store / "report" / grid
    (facts,) = json.loads((report / "tables" / "meta.json").read_text())["registrations"]
    page = (report / "leaderboard.html").read_text()
    assert HOSTILE not in page
    section = page[page.index('<section id="registration"') :].partition("</section>")[0]
    return facts, html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section)))


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Replace the registration of `folder` by one with another content and its right hash, as if it had been registered."""
    store = Store.open(folder / "runs")
    content = json.loads(json.dumps(registered(store, "tiny")[0].content))
    edit(content)
    (folder / "runs" / "registrations" / "tiny.json").unlink()
    write_next(store, "tiny", content)


def rows(facts: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(row["field"].partition(" (")[0], row["registered"], row["reported"]) for row in facts["deviations"]}


def test_the_hash_is_the_sha256_of_the_content(plan: Path) -> None:
    content = json.loads((plan / "runs" / "registrations" / "tiny.json").read_text())
    stated = content.pop("sha256")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert stated == hashlib.sha256(text.encode()).hexdigest()
    assert len(content["plan"]["runs"]) == 2
    assert content["plan"]["min_count"] == 5


def test_the_page_answers_hypotheses_by_its_own_numbers(study: Path, here: Command) -> None:
    facts, text = reported(here, study)
    assert facts["deviations"] == []
    assert facts["sha256"] in text
    assert "no deviation from the registered plan" in text
    gaps = pd.read_parquet(study / "runs" / "report" / "tiny" / "tables" / "mean_gaps.parquet").set_index("dataset")
    for name, dataset, sign in (("gap", "external", 1), ("at-nih", "nih", -1)):
        row = gaps.loc[dataset]
        bounds = [
            float(row[f"{kind}{end}"]) for end in ("low", "high") for kind in ("", "all_") if f"{kind}{end}" in row
        ]
        low, high = min(bounds), max(bounds)
        expected = "unclear" if low <= 0 <= high else "supported" if sign * row["value"] > 0 else "contradicted"
        number = f"{abs(row['value']):.3f}".removeprefix("0")
        line = text.partition(f" {name} The network")[2][:200]
        assert number in line
        assert expected in line


def test_what_differs_from_the_registered_plan_is_shown_side_by_side(study: Path, here: Command) -> None:
    ids = [run["id"] for run in read_grid(Store.open(study / "runs"), "tiny")["runs"]]

    def edit(content: dict[str, Any]) -> None:
        content["plan"] |= {"min_count": 12, "mapping": "strict", "threshold": HOSTILE}
        content["plan"]["findings"] += ["Hernia"]
        content["plan"]["runs"][1] |= {"id": "0" * 12}
        content["plan"]["hospitals"][2]["table"] = "f" * 12
        content["plan"]["hospitals"][3]["name"], content["plan"]["hospitals"][3]["table"] = "elsewhere", "e" * 12
        content["version"] = "0.0.1"

    change(study, edit)
    facts, text = reported(here, study)
    found = rows(facts)
    assert found >= {
        ("min_count", "12", "5"),
        ("label mapping", "strict", "default"),
        ("threshold rule", HOSTILE, "f1_max"),
        ("finding", "Hernia", ""),
        ("run", f"seresnet_tiny seed 1 ({'0' * 12})", ""),
        ("run", "", f"seresnet_tiny seed 1 ({ids[1]})"),
        ("hospital", "elsewhere", ""),
        ("hospital", "", "padchest"),
    }
    assert {field for field, *_ in found} >= {"id of the table of nih", "version of Unseen that made the runs"}
    assert "12 deviations" not in text  # the number is that of the rows
    assert f"{len(facts['deviations'])} deviations from the registered plan" in text
    assert "All other results are exploratory, such as" in text


def test_scores_with_other_settings_deviate_from_the_registration(study: Path, here: Command) -> None:
    here("score", "--as", "fewer", "--min-count", "8", "--findings", "Edema,Pneumonia", "--quiet", cwd=study)
    facts, _ = reported(here, study, "fewer")
    found = rows(facts)
    assert ("min_count", "5", "8") in found
    assert ("finding", "Cardiomegaly", "") in found
    assert len(found) == 8


def test_a_grid_that_was_tested_elsewhere_cannot_be_registered(store_copy: Path, here: Command) -> None:
    said = here("register", "--grid", "tiny", "--quiet", cwd=store_copy, code=2).stderr
    assert "was already tested at brax, mimic, nih, padchest, vindr" in said
    assert not (store_copy / "runs" / "registrations").exists()


def test_a_registration_is_amended_and_never_replaced(unregistered: Path, study: Path, here: Command) -> None:
    folder, register = unregistered, ["register", "--grid", "tiny", "--quiet"]
    first = (folder / "runs" / "registrations" / "tiny.json").read_bytes()
    asked = ["--hypotheses", "hypotheses.yaml"]
    assert "is registered already" in here(*register, *asked, cwd=folder, code=2).stderr
    assert "changes nothing" in here(*register, *asked, "--amend", cwd=folder, code=2).stderr
    (folder / "hypotheses.yaml").write_text(
        HYPOTHESES.replace("a lower AUROC at external", "a lower AUROC at all external")
    )
    tried = here(*register, *asked, "--amend", "--dry-run", cwd=folder).stdout
    assert "changed: hypothesis gap" in tried
    assert "nothing was written" in tried
    said = json.loads(here(*register, *asked, "--amend", "--json", cwd=folder).stdout)
    assert said["path"].endswith("tiny.2.json")
    assert said["registration"]["amends"] == json.loads(first)["sha256"]
    assert (folder / "runs" / "registrations" / "tiny.json").read_bytes() == first
    shutil.copytree(folder / "runs" / "registrations", study / "runs" / "registrations", dirs_exist_ok=True)
    facts, text = reported(here, study)
    (changed,) = facts["amended"][0]["changes"]
    assert changed["registered"] != changed["reported"]
    assert changed["registered"] in text
    assert changed["reported"] in text


def test_a_run_that_will_deviate_is_told_before_it_trains(unregistered: Path, here: Command) -> None:
    grid = (Path(__file__).parents[3] / "grids" / "tiny.yaml").read_text()
    (unregistered / "tiny.yaml").write_text(grid.replace("min_count: 5", "min_count: 7"))
    said = here("run", "--grid", "tiny.yaml", "--dry-run", "--quiet", cwd=unregistered).stderr
    assert "5 -> 7" in said
    assert "the plan is as registered" in here("run", "--grid", "tiny", "--dry-run", "--quiet", cwd=unregistered).stderr


def test_a_changed_or_deleted_registration_is_refused(study: Path, here: Command) -> None:
    path = study / "runs" / "registrations" / "tiny.json"
    intact = path.read_bytes()
    path.write_bytes(intact.replace(b"has a lower AUROC", b"has a higher AUROC"))
    assert "is not what was registered" in here("report", "--quiet", cwd=study, code=2).stderr
    said = here("check", "--store", "runs", "--quiet", cwd=study, code=1)
    assert re.search(r"registration tiny\.json.*is not what was registered", said.stdout, re.DOTALL)
    # `bench run` writes the hash into the manifest of the grid
    store = Store.open(study / "runs")
    write_grid(store, "tiny", {**read_grid(store, "tiny"), "registration": json.loads(intact)["sha256"]})
    path.write_bytes(intact)
    here("report", "--quiet", cwd=study)
    path.unlink()
    assert "is missing" in here("report", "--quiet", cwd=study, code=2).stderr
    assert "is missing or changed" in here("check", "--store", "runs", "--quiet", cwd=study, code=1).stdout


def test_a_bundle_carries_the_registration_and_shows_what_it_left_out(
    study: Path, here: Command, tmp_path: Path
) -> None:
    """Registrations in bundles, also forged ones."""
    archive = pytest.importorskip("bench.extensions.bundles.archive")
    run, other = (run["id"] for run in read_grid(Store.open(study / "runs"), "tiny")["runs"])
    sha256 = registered(Store.open(study / "runs"), "tiny")[0].sha256
    here("export", run, "-o", "one.zip", "--quiet", cwd=study)
    members = tmp_path / "members"
    members.mkdir()
    archive.unpack(study / "one.zip", members)
    content = json.loads((members / "registrations" / "1.json").read_text())

    def refusal(changed: dict[str, Any] | None, name: str = "1.json") -> str:
        shutil.rmtree(members / "registrations")
        if changed is not None:
            (members / "registrations").mkdir()
            text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
            (members / "registrations" / name).write_text(text)
        archive.pack(members, study / "forged.zip")
        return here("verify", "forged.zip", "--quiet", cwd=study, code=2).stderr

    def hashed(changed: dict[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in changed.items() if key != "sha256"}
        text = json.dumps(own, sort_keys=True, separators=(",", ":"))
        return {**own, "sha256": hashlib.sha256(text.encode()).hexdigest()}

    assert "is not what was registered" in refusal({**content, "date": "2020-01-01T00:00:00Z"})
    assert "a date that is invalid" in refusal(hashed({**content, "date": "yesterday"}))
    assert "unknown keys" in refusal(hashed({**content, "path": "/data"}))
    assert "control characters" in refusal(hashed({**content, "title": "\x1b[2J"}))
    assert "inconsistent" in refusal(hashed({**content, "plan": {**content["plan"], "runs": 3}}))
    assert "does not name the one before" in refusal(hashed({**content, "amends": "0" * 64}))
    assert "1.json is missing" in refusal(content, "7.json")
    here("merge", "one.zip", "--store", "together", "--quiet", cwd=study)
    facts, text = reported(here, study, store="together")
    assert facts["sha256"] == sha256
    assert facts["bundle"] == "one.zip"
    assert rows(facts) == {("run", f"seresnet_tiny seed 1 ({other})", "")}
    assert "1 deviation from" in text
    here("check", "--store", "together", "--quiet", cwd=study)
    path = study / "runs" / "registrations" / "tiny.json"
    path.write_bytes(path.read_bytes().replace(b"has a lower AUROC", b"has a higher AUROC"))
    assert "is not what was registered" in here("export", "-o", "x.zip", "--quiet", cwd=study, code=2).stderr


def test_wrong_hypotheses_draw_no_image(tmp_path: Path, here: Command) -> None:
    for name, said in (("none.yaml", "does not exist"), ("wrong.yaml", "claim_text")):
        (tmp_path / "wrong.yaml").write_text("- {name: gap, claim_text: The gap is above 0.}\n")
        refused = here("register", "--grid", "tiny", "--hypotheses", name, cwd=tmp_path, code=2).stderr
        assert said in refused
    assert not (tmp_path / "runs" / "phantom").exists()


def test_a_wrong_argument_of_the_library_is_named(tmp_path: Path) -> None:
    wrong: Any = 3
    with pytest.raises(ConfigError, match="grid must be a path"):
        api.register(wrong, store=tmp_path)
