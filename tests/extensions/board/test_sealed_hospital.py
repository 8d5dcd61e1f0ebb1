"""A sealed hospital: answers follow the Ladder, end with the quota, and are logged in a chain."""

import hashlib
import json
import shlex
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.extensions.board.sealed import SealedHospital, answer, answers, bits, ladder, macro_auroc, open_hospital
from bench.store.lease import lease
from harmonize.errors import ConfigError, CxrError, StoreError
from tests.conftest import Command
from tests.nonempty import nonempty

FINDINGS = ["Edema", "Pneumonia"]


@pytest.fixture
def hospital(tmp_path: Path) -> Path:
    """A sealed hospital of 400 images with a quota of 3 answers, and the predictions p0.csv, p1.csv, ... for it."""
    draw = np.random.default_rng(0)
    ids = [f"image-{i}" for i in range(400)]
    label_NK = draw.random((400, 2)) < 0.3
    table = pd.DataFrame(label_NK.astype(int), columns=FINDINGS).astype(str)
    table.loc[:9, "Edema"] = ["", "-1"] * 5  # not scored
    table.insert(0, "image_id", ids)
    table.insert(1, "patient_id", [f"patient-{i // 2}" for i in range(400)])
    table.to_csv(tmp_path / "labels.csv", index=False)
    folder = tmp_path / "hospital"
    open_hospital(folder, tmp_path / "labels.csv", 0.01, 3)
    hashed = pd.read_csv(folder / "ids.csv").set_index("image_id")["hashed"]
    for number, noise in enumerate((3.0, 2.0, 2.0, 1.0, 0.5)):
        value_NK = 1 / (1 + np.exp(-(label_NK + draw.normal(0, noise, label_NK.shape))))
        frame = pd.DataFrame(value_NK, columns=FINDINGS).assign(image_id=hashed.loc[ids].to_numpy())
        frame.to_csv(tmp_path / f"p{number}.csv", index=False)
    return folder


def test_answers_are_rounded_only_improve_and_end_with_the_quota(hospital: Path, tmp_path: Path) -> None:
    settings = SealedHospital.read(hospital)
    true = [macro_auroc(hospital, tmp_path / f"p{number}.csv", settings) for number in range(5)]
    assert true == sorted(true) or true[2] < true[1]
    first = answer(hospital, tmp_path / "p3.csv", "A")
    assert first.auroc == pytest.approx(true[3], abs=0.005)
    assert round(first.auroc * 100) == pytest.approx(first.auroc * 100)
    worse = answer(hospital, tmp_path / "p0.csv", "A")
    assert worse.auroc == first.auroc, "an answer that is no improvement repeats the best one"
    assert (first.left, worse.left) == (2, 1)
    again = answer(hospital, tmp_path / "p0.csv", "A")
    assert again == worse, "the same file costs nothing"
    assert answer(hospital, tmp_path / "p4.csv", "A").left == 0
    with pytest.raises(ConfigError, match="the quota of A is spent: 3 answers"):
        answer(hospital, tmp_path / "p1.csv", "A")
    assert answer(hospital, tmp_path / "p3.csv", "A") == first, "earlier answers are given again"
    assert answer(hospital, tmp_path / "p1.csv", "B").left == 2
    assert [each.laboratory for each in answers(hospital)] == ["A", "A", "A", "B"]
    assert not (hospital / "LOCK").exists()


def test_the_ladder_hides_what_is_smaller_than_a_step() -> None:
    assert [ladder(0.81, score, 0.01) for score in (0.5, 0.81, 0.8199, 0.82, 0.8349)] == [0.81, 0.81, 0.81, 0.82, 0.83]
    assert ladder(-float("inf"), 0.333, 0.05) == 0.35


def test_a_removed_answer_and_changed_labels_are_noticed(hospital: Path, tmp_path: Path) -> None:
    for number in range(3):
        answer(hospital, tmp_path / f"p{number}.csv", "A")
    lines = (hospital / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (hospital / "answers.jsonl").write_bytes(lines[0] + lines[2])
    with pytest.raises(StoreError, match="the chain is broken at line 2"):
        answer(hospital, tmp_path / "p3.csv", "A")
    (hospital / "answers.jsonl").write_bytes(b"".join(lines))
    labels = (hospital / "labels.csv").read_text()
    (hospital / "labels.csv").write_text(labels.replace(",1", ",0"))
    with pytest.raises(StoreError, match="the labels or the secret were changed"):
        answer(hospital, tmp_path / "p3.csv", "B")


def test_a_quota_cannot_be_reset_unnoticed(hospital: Path, tmp_path: Path) -> None:
    for number in range(3):
        answer(hospital, tmp_path / f"p{number}.csv", "Lab A")
    for name in ("lab a", "Lab  A", " Lab A", "Lab-A", "L\u00e1b A", "\uff2cab A", "1ab A"):
        with pytest.raises(ConfigError, match="is spent: 3 answers"):
            answer(hospital, tmp_path / "p3.csv", name)
    for mark in "\u3164\u115f\u1160\uffa0\ufe0f\ufe00\U000e0100\u034f\u2800\u180b\u17b4\u200b\u00ad\u202e\ue000":
        with pytest.raises(ConfigError, match="invisible characters"):
            answer(hospital, tmp_path / "p3.csv", f"Lab A{mark}")
    for name in (
        "Lab \u0410",
        "L\u0430b A",
        "Lab \u0391",
        "\u13deab A",
        "Lab \u2c6d",
        "\u01c0ab A",
        "Lab A\u0323\u0323",
    ):
        with pytest.raises(ConfigError, match=r"with Latin letters|is spent"):
            answer(hospital, tmp_path / "p3.csv", name)
    log, settings = hospital / "answers.jsonl", hospital / "sealed.json"
    whole, before = log.read_bytes(), settings.read_bytes()
    lines = whole.splitlines(keepends=True)
    for shorter in (None, b"", b"".join(lines[:1]), b"".join(lines[:2])):
        log.unlink()
        if shorter is not None:
            log.write_bytes(shorter)
        with pytest.raises(StoreError, match="answers are missing"):
            answer(hospital, tmp_path / "p3.csv", "Lab A")
        log.write_bytes(whole)
    settings.write_bytes(before.replace(b'"quota":3', b'"quota":9'))
    with pytest.raises(StoreError, match="the quota was changed"):
        answer(hospital, tmp_path / "p3.csv", "Lab A")
    for damaged in (b"", b"[]", b"{}", before[:-1], before.replace(b'"quota"', b'"quotas"')):
        settings.write_bytes(damaged)
        with pytest.raises(StoreError, match="settings were not written by the program"):
            answer(hospital, tmp_path / "p3.csv", "B")
    settings.write_bytes(before)
    assert answer(hospital, tmp_path / "p3.csv", "B").left == 2
    settings.write_bytes(before)  # as after a process that ended between its two files
    assert answer(hospital, tmp_path / "p4.csv", "B").left == 1
    (hospital / "labels.csv").unlink()
    with pytest.raises(StoreError, match="were changed, or are missing"):
        answer(hospital, tmp_path / "p4.csv", "B")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.assign(Edema=["nan", *t["Edema"][1:]]), "Edema"),
        (lambda t: t.assign(Edema=["inf", *t["Edema"][1:]]), "Edema"),
        (lambda t: t.head(0), "no rows"),
        (lambda t: t.iloc[1:], "1 of 400 labeled images have no prediction"),
        (lambda t: pd.concat([t, t.head(1)]), "occurs twice"),
        (lambda t: t.drop(columns="Edema"), "Edema"),
    ],
)
def test_a_wrong_table_is_refused_and_costs_nothing(spoil: Any, said: str, hospital: Path, tmp_path: Path) -> None:
    table = pd.read_csv(tmp_path / "p0.csv", dtype=str)
    spoil(table).to_csv(tmp_path / "wrong.csv", index=False)
    with pytest.raises(CxrError, match=said):
        answer(hospital, tmp_path / "wrong.csv", "A")
    assert answers(hospital) == []
    more = pd.concat([table, table.head(1).assign(image_id="unknown")])
    more.to_csv(tmp_path / "more.csv", index=False)
    first = answer(hospital, tmp_path / "more.csv", "A")
    assert first.auroc == answer(hospital, tmp_path / "p0.csv", "A").auroc, (
        "a prediction of an unknown image counts nothing"
    )


def test_only_labels_can_be_sealed(tmp_path: Path) -> None:
    for cells, said in ((["1", "x"], "Edema"), (["1", "1"], "Edema has 0 images"), (["", ""], "Edema has 0 images")):
        pd.DataFrame({"image_id": ["a", "b"], "Edema": cells}).to_csv(tmp_path / "labels.csv", index=False)
        with pytest.raises(ConfigError, match=said):
            open_hospital(tmp_path / "new", tmp_path / "labels.csv", 0.01, 3)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("blank", ["", "nan"])
def test_labels_without_a_patient_are_not_sealed_as_one_patient(blank: str, hospital: Path, tmp_path: Path) -> None:
    assert hospital.is_dir()
    labels = pd.read_csv(tmp_path / "labels.csv", dtype=str, keep_default_na=False)
    labels.loc[4:9, "patient_id"] = blank
    labels.to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ConfigError, match=f"row 6, column patient_id: '{blank}' is not a patient"):
        open_hospital(tmp_path / "new", tmp_path / "labels.csv", 0.01, 3)
    assert not (tmp_path / "new").exists()


def test_only_one_of_two_askers_gets_the_last_answer(hospital: Path, tmp_path: Path) -> None:
    """Both ask until their own question is refused or answered."""
    for number in range(2):
        answer(hospital, tmp_path / f"p{number}.csv", "A")

    def ask(number: int) -> str:
        while True:
            try:
                return str(answer(hospital, tmp_path / f"p{number}.csv", "A").left)
            except StoreError:  # another answer is being computed
                continue
            except ConfigError as error:
                return error.what

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(ask, (3, 4)))
    assert said == ["0", "the quota of A is spent: 3 answers"]
    assert len(answers(hospital)) == 3


def test_the_folder_has_no_id_that_others_know_and_two_answers_do_not_run_at_once(
    hospital: Path, tmp_path: Path
) -> None:
    assert "image-" not in (hospital / "labels.csv").read_text()
    assert "patient-" not in (hospital / "labels.csv").read_text()
    assert {stat.S_IMODE((hospital / name).stat().st_mode) for name in ("labels.csv", "ids.csv", "secret")} == {0o600}
    with lease(hospital), pytest.raises(StoreError, match="another answer is being computed"):
        answer(hospital, tmp_path / "p0.csv", "A")
    with pytest.raises(ConfigError, match="has the character '<'"):
        answer(hospital, tmp_path / "p0.csv", "<b>")
    with pytest.raises(ConfigError, match="--step must be"):
        open_hospital(tmp_path / "x", tmp_path / "labels.csv", 0.5, 3)


def test_the_commands_speak_of_the_quota(hospital: Path, tmp_path: Path, here: Command) -> None:
    words = ("board", "sealed", "answer", "hospital", "--laboratory", "A", "--predictions")
    for number in range(3):
        said = here(*words, f"p{number}.csv", cwd=tmp_path).stdout
        assert f"{2 - number} answers left" in said
    refused = here(*words, "p3.csv", cwd=tmp_path, code=2).stderr
    assert "the quota of A is spent" in refused
    assert "where: " in refused
    found = json.loads(here(*words, "p1.csv", "--json", cwd=tmp_path).stdout)
    assert found["hash"] == answers(hospital)[1].hash
    said = here("board", "sealed", "open", "other", "--labels", "labels.csv", "--quota", "5", cwd=tmp_path).stdout
    assert "Edema, Pneumonia; 5 answers for each laboratory" in said
    assert f"reveal at most {bits(0.01, 5):.0f} bits" in said


def test_the_public_files_do_not_tell_whether_guessed_labels_are_right(hospital: Path, tmp_path: Path) -> None:
    answer(hospital, tmp_path / "p0.csv", "A")
    public = (hospital / "sealed.json").read_text() + (hospital / "answers.jsonl").read_text()
    content = (hospital / "labels.csv").read_bytes()
    rows = sorted(content.splitlines(keepends=True))
    for guess in (content, (tmp_path / "labels.csv").read_bytes(), b"".join(rows), content.rstrip()):
        assert hashlib.sha256(guess).hexdigest() not in public
    shutil.copy(tmp_path / "labels.csv", tmp_path / "again.csv")
    open_hospital(tmp_path / "again", tmp_path / "again.csv", 0.01, 3)
    assert SealedHospital.read(tmp_path / "again").labels != SealedHospital.read(hospital).labels, "the same labels"


def rare(tmp_path: Path, num: int, positive: int) -> Path:
    label = (np.arange(num) < positive).astype(int)
    table = pd.DataFrame({"image_id": [f"i{i}" for i in range(num)], "Edema": label})
    table.to_csv(tmp_path / "rare.csv", index=False)
    return tmp_path / "rare.csv"


@pytest.mark.parametrize(("num", "positive", "step"), [(1000, 199, 0.01), (1000, 801, 0.01), (500, 19, 0.1)])
def test_a_finding_with_few_images_of_a_class_is_not_sealed(
    num: int, positive: int, step: float, tmp_path: Path
) -> None:
    few = min(positive, num - positive)
    with pytest.raises(
        ConfigError, match=f"Edema has {few} images of its smaller class, the step {step} needs {few + 1}"
    ):
        open_hospital(tmp_path / "h", rare(tmp_path, num, positive), step, 3)
    assert not (tmp_path / "h").exists()


@pytest.mark.parametrize(("positive", "step"), [(200, 0.01), (199, 0.02), (40, 0.05), (39, 0.1), (20, 0.1)])
def test_the_step_is_chosen_so_that_one_label_moves_an_answer_by_at_most_half_a_step(
    positive: int, step: float, tmp_path: Path
) -> None:
    made = open_hospital(tmp_path / "h", rare(tmp_path, 1000, positive), None, 3)
    assert made.step == step
    hashed = pd.read_csv(tmp_path / "h" / "ids.csv")["hashed"]
    order = np.random.default_rng(0).permutation(1000) / 1000.0
    scores = []
    for place in (0.0, 1.0):  # the first image, a positive one, at the bottom and at the top
        frame = pd.DataFrame({"image_id": hashed, "Edema": np.concatenate([[place], order[1:]])})
        frame.to_csv(tmp_path / "p.csv", index=False)
        scores.append(macro_auroc(tmp_path / "h", tmp_path / "p.csv", made))
    assert 0 < scores[1] - scores[0] <= step / 2 + 1e-12


def test_the_commands_of_the_document_run_in_their_order(hospital: Path, tmp_path: Path, here: Command) -> None:
    """The section "A sealed hospital" of docs/extensions/sharing.md."""
    text = (Path(__file__).parents[3] / "docs" / "extensions" / "sharing.md").read_text()
    block = text.partition("## A sealed hospital\n\n```text\n")[2].partition("```")[0]
    labels = pd.read_csv(tmp_path / "labels.csv", dtype=str)
    own = pd.DataFrame({"image_id": labels["image_id"], "Edema": np.linspace(0, 1, 400)})
    own.assign(Pneumonia=own["Edema"]).to_csv(tmp_path / "own.csv", index=False)
    shutil.rmtree(hospital)
    for line in nonempty(block.splitlines()):
        words = shlex.split(line, comments=True)[1:]
        if words[1:3] == ["sealed", "answer"]:
            hashed = pd.read_csv(hospital / "ids.csv")["hashed"]
            theirs = pd.read_csv(tmp_path / "own.csv").assign(image_id=hashed)
            theirs.to_csv(tmp_path / "theirs.csv", index=False)
        assert here(*words, cwd=tmp_path).stdout
