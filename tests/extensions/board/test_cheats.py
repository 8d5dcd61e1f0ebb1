"""Cheats that change a bundle together with all its hashes: a board refuses each, or shows it without a rank."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.config.registry import Registry
from bench.extensions.board.copies import Earlier, Fingerprint, Logits
from bench.extensions.board.examine import MISSING, examined
from bench.extensions.board.rules import Rules
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.extensions.bundles.verify import opened
from harmonize.errors import StoreError
from tests.conftest import Once
from tests.extensions.board.laboratories import laboratories, quiet
from tests.extensions.bundles.test_bundles import keyed, on_json, on_table, refact

pytestmark = pytest.mark.grid
REGISTRY = Registry.read()
Change = Callable[[Path], None]
HOSPITALS = ("chexpert", "mimic", "nih")


@pytest.fixture(scope="module")
def labs(finished: Path, once: Once) -> Path:
    """The bundles of three laboratories, and their stores. Tests only read them."""
    return once("laboratories", lambda folder: laboratories(finished, folder))


@pytest.fixture(scope="module")
def earlier(labs: Path) -> Earlier:
    """A board on which laboratory A is accepted."""
    out = Earlier()
    with opened(labs / "a.zip", REGISTRY) as found:
        out.add("lab-a", found.id, Fingerprint.of(found.manifest), accepted=True)
    return out


def forged(bundle: Path, tmp_path: Path, change: Change) -> Path:
    """Return a copy of a bundle whose members were changed, with new checksums."""
    folder = tmp_path / "members"
    folder.mkdir()
    unpack(bundle, folder)
    (folder / CHECKSUMS).unlink()
    change(folder)
    pack(folder, tmp_path / "forged.zip")
    return tmp_path / "forged.zip"


def problems(bundle: Path, earlier: Earlier) -> list[str]:
    """Return why a bundle cannot stand on a board with earlier submissions."""
    with opened(bundle, REGISTRY) as found:
        content = Fingerprint.of(found.manifest)
        of_board = earlier.problems(found.id, content)
        return [*of_board["tables"], *of_board["copies"], *content.repeated(found.manifest)]


def on_cohort(members: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    on_table(members, members / "cohorts" / f"{name}.parquet", change)
    keyed(members, name)


def on_logits(members: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    for run in sorted((members / "runs").iterdir()):
        on_table(members, run / "predictions" / f"{name}.parquet", change)
    keyed(members, name)


def other_origin(members: Path) -> None:
    """Change the last digit of the text that names the hospital's table."""

    def change(content: dict[str, Any]) -> None:
        for cohort in content["cohorts"][1:]:
            cohort["origin"] = cohort["origin"][:-1] + ("0" if cohort["origin"][-1] != "0" else "1")

    on_json(members / "manifest.json", change)


def stated_origin(members: Path, name: str, origin: str) -> None:
    on_json(members / "manifest.json", lambda m: [c.update(origin=origin) for c in m["cohorts"] if c["name"] == name])


def other_layout(members: Path) -> None:
    on_json(members / "manifest.json", lambda m: [c.update(layout="brax") for c in m["cohorts"] if c["name"] == "nih"])


def labels_rewritten(members: Path) -> None:
    on_cohort(members, "nih", lambda f: f.assign(Edema=1 - f["Edema"].clip(0)))


def patients_merged(members: Path) -> None:
    on_cohort(members, "nih", lambda f: f.assign(patient=f["patient"] // 2))


def one_image_each(members: Path) -> None:
    def swapped(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[[0, 1], "patient"] = frame["patient"].iloc[[2, 3]].to_numpy()
        return frame

    on_cohort(members, "chexpert", swapped)


def hard_images_removed(members: Path) -> None:
    for run in (members / "runs").iterdir():
        on_table(members, run / "predictions" / "nih.parquet", lambda f: f.iloc[10:])
    on_cohort(members, "nih", lambda f: f.iloc[10:])
    on_json(members / "manifest.json", lambda m: [c.update(unreadable=30) for c in m["cohorts"]])


def view_changed(members: Path) -> None:
    on_cohort(members, "mimic", lambda f: f.assign(view="LATERAL"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_origin, "it was made from the table"),
        (other_layout, "it is scored as external, brax, all, not as external, nih, all"),
        (labels_rewritten, "images have other labels, or are left out"),
        (patients_merged, "its images belong to other patients"),
        (one_image_each, "its images belong to other patients"),
        (hard_images_removed, "10 images have other labels, or are left out"),
        (view_changed, "images have other labels, or are left out"),
    ],
)
def test_the_first_accepted_bundle_fixes_the_table_of_each_hospital(
    change: Change, said: str, labs: Path, earlier: Earlier, tmp_path: Path
) -> None:
    assert problems(labs / "b.zip", earlier) == []
    found = problems(forged(labs / "b.zip", tmp_path, change), earlier)
    assert any("is not that of the submission lab-a" in text and said in text for text in found), found
    assert problems(tmp_path / "forged.zip", Earlier()) == [], "without an accepted bundle nothing is fixed"


def test_a_table_under_another_name_is_one_hospital_twice(labs: Path, tmp_path: Path) -> None:
    def doubled(members: Path) -> None:
        origins = {c["name"]: c["origin"] for c in json.loads((members / "manifest.json").read_bytes())["cohorts"]}
        for path in ("cohorts", *(f"runs/{run.name}/predictions" for run in (members / "runs").iterdir())):
            (members / path / "nih.parquet").write_bytes((members / path / "mimic.parquet").read_bytes())
        keyed(members, "nih")
        stated_origin(members, "nih", origins["mimic"][::-1])

    found = problems(forged(labs / "b.zip", tmp_path, doubled), Earlier())
    assert found == ["mimic and nih are the same hospital: they have the same labels or logits"]


def ulp(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[0, "Edema"] = np.nextafter(frame["Edema"][0], np.float32(9))
    return frame


def noise(frame: pd.DataFrame) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    names = frame.columns.drop("image")
    return frame.assign(**{n: frame[n] + 0.01 * frame[n].std() * draw.normal(size=len(frame)) for n in names})


def rescaled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{n: np.arctan(3 * frame[n] - 1) for n in frame.columns.drop("image")})


def one_finding(frame: pd.DataFrame) -> pd.DataFrame:
    draw = np.random.default_rng(4)
    names = frame.columns.drop(["image", "Edema"])
    return frame.assign(**{n: draw.normal(size=len(frame)) for n in names})


@pytest.mark.parametrize("change", [ulp, noise, rescaled, one_finding])
def test_logits_of_another_submission_are_a_copy_also_if_they_were_changed(
    change: Callable[[pd.DataFrame], pd.DataFrame], labs: Path, earlier: Earlier, tmp_path: Path
) -> None:
    def forge(members: Path) -> None:
        for name in HOSPITALS:
            on_logits(members, name, change)
        other_origin(members)

    found = problems(forged(labs / "a.zip", tmp_path, forge), earlier)
    assert any("are those of the submission lab-a: it is a copy" in text for text in found), found


@pytest.mark.parametrize("change", [lambda frame: frame, ulp, rescaled])
def test_one_run_given_as_two_seeds_is_one_run(
    change: Callable[[pd.DataFrame], pd.DataFrame], labs: Path, tmp_path: Path
) -> None:
    def forge(members: Path) -> None:
        one, two = sorted((members / "runs").iterdir())
        for name in HOSPITALS:
            own = pd.read_parquet(one / "predictions" / f"{name}.parquet")
            on_table(members, two / "predictions" / f"{name}.parquet", lambda f, own=own: change(own[f.columns].copy()))
            keyed(members, name)

    [found] = problems(forged(labs / "b.zip", tmp_path, forge), Earlier())
    assert "have the same logits: they are one run" in found


@pytest.mark.slow
def test_unrelated_runs_with_the_same_skill_are_no_copies() -> None:
    draw = np.random.default_rng(6)
    label_NB = draw.random((60, 9)) < 0.3

    def logits() -> Logits:
        logit = 0.8 * label_NB[:, 0] + draw.normal(size=60)
        rank = logit.argsort().argsort() / 60
        ranks = np.array([rank[label].mean() for label in label_NB.T])
        return Logits(60, np.quantile(logit, np.linspace(0, 1, 101)), ranks)

    runs = [logits() for _ in range(200)]
    assert not any(one.is_copy_of(two) for number, one in enumerate(runs) for two in runs[:number])
    assert all(one.is_copy_of(replace(one, values_Q=one.values_Q * 7)) for one in runs)


def test_two_seeds_with_equal_weights_are_one(labs: Path, tmp_path: Path) -> None:
    def forge(members: Path) -> None:
        one, two = sorted((members / "runs").iterdir())
        (two / "seal.json").write_bytes((one / "seal.json").read_bytes())
        weights = json.loads((one / "seal.json").read_bytes())["weights_after"]
        for name in HOSPITALS:
            refact(two / "predictions" / f"{name}.parquet", weights=weights)

    for change, said in ((lambda _: None, []), (forge, ["a recipe has 1 of 2 required seeds"])):
        folder = tmp_path / str(len(said))
        folder.mkdir()
        with opened(forged(labs / "b.zip", folder, change), REGISTRY) as found:
            assert Rules.read(labs).problems(found.manifest)["seeds"] == said


def test_runs_that_all_learn_one_finding_have_not_the_findings_of_the_board(labs: Path, tmp_path: Path) -> None:
    rules = Rules.read(labs)
    with opened(labs / "b.zip", REGISTRY) as found:
        manifest = found.manifest
        one = [
            replace(run, config=replace(run.config, task="binary", finding="Pleural Effusion")) for run in manifest.runs
        ]
        assert rules.problems(manifest)["settings"] == []
        for runs, bins, said in (
            (one, 15, ["findings is Pleural Effusion, the board has shared-9"]),
            ([one[0], manifest.runs[1]], 15, []),  # this row is shown without a rank, because it has one finding
            (manifest.runs, 2, ["bins is 2, the board has 15"]),
        ):
            changed = replace(manifest, runs=tuple(runs), bins=bins)
            assert rules.problems(changed)["settings"] == said


def test_an_old_scoring_version_skips_no_check(labs: Path, tmp_path: Path) -> None:
    def change(members: Path) -> None:
        on_json(members / "bundle.json", lambda about: about.update(scoring=0))
        for run in (members / "runs").iterdir():
            on_json(run / "trained.json", lambda t: t.update(unlearnt=["Pleural Effusion"]))

    path = forged(labs / "b.zip", tmp_path, change)
    with pytest.raises(StoreError, match="states that it could not learn Pleural Effusion"):
        examined(path, Rules.read(labs), REGISTRY, quiet)


def test_a_model_that_predicts_one_finding_is_shown_without_a_rank(labs: Path, tmp_path: Path) -> None:
    found, _ = examined(labs / "c.zip", Rules.read(labs), REGISTRY, quiet)
    assert [number.missing for number in found.numbers] == [()]
    with opened(labs / "c.zip", REGISTRY) as bundle:
        findings = list(bundle.manifest.shared.findings)
    left_out = [finding for finding in findings if finding != "Pleural Effusion"]

    def change(members: Path) -> None:
        on_json(members / "bundle.json", lambda about: about.update(scoring=0))  # its scores are computed again
        for name in HOSPITALS:
            on_logits(members, name, lambda f: f.assign(**dict.fromkeys(left_out, np.float32(0))))
        [run] = (members / "runs").iterdir()
        on_json(run / "trained.json", lambda t: t.update(unlearnt=left_out))

    found, _ = examined(forged(labs / "c.zip", tmp_path, change), Rules.read(labs), REGISTRY, quiet)
    [number] = found.numbers
    assert set(number.missing) < set(left_out)
    assert len(number.missing) >= 3
    assert "its mean is over other findings, without " in number.unranked
    assert not [line for line in found.lines if line.state == MISSING]
