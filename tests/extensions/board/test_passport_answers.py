"""A passport whose answers contradict its own list of training data, and records of golden outputs that no program wrote."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.extensions.board.examine import CheckLine, _golden, passport_problems
from bench.extensions.bundles.imported_models import is_passport
from bench.store.store import Store
from tests.manifests import invented_manifest, invented_model

PASSPORT: dict[str, Any] = {
    "cohorts": [], "others": [], "seen": [], "pretraining": "", "licence": "", "source": "", "format": "timm",
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("no", ["M: nih is training data, but the answer there is no"]),
        ("unknown", ["M: nih is training data, but the answer there is unknown"]),
        ("labels", []),
        ("images", []),
    ],
)
def test_training_data_cannot_be_unseen(answer: str, said: list[str], tmp_path: Path) -> None:
    passport = PASSPORT | {"cohorts": ["nih"], "seen": ["nih"], "answers": {"nih": {"answer": answer}}}
    assert passport_problems(invented_manifest(Store(tmp_path), derived=(invented_model(passport),))) == said


@pytest.mark.parametrize(
    "changed",
    [
        {"seen": ["nih"]},
        {"others": ["nih"]},
        {"others": ["our hospital", "NIH ChestX-ray14"]},
        {"others": ["\uff2e\uff29\uff28"]},
        {"others": ["ChestX-ray8"]},
        {"others": ["National Institutes of Health, Bethesda"]},
        {"pretraining": "self-supervised on ChestX-ray14"},
        {"cohorts": ["NIH"]},
    ],
)
@pytest.mark.parametrize("answer", ["no", "unknown"])
def test_a_passport_does_not_contradict_itself(changed: dict[str, Any], answer: str, tmp_path: Path) -> None:
    def found(passport: dict[str, Any]) -> list[str]:
        manifest = invented_manifest(Store(tmp_path))
        [cohort] = manifest.cohorts
        cohorts = tuple(replace(cohort, name=name, layout=name, role="external") for name in ("nih", "brax"))
        model = invented_model(PASSPORT | passport)
        return passport_problems(replace(manifest, planned_cohorts=(cohort, *cohorts), derived=(model,)))

    [text] = found(changed | {"answers": {"nih": {"answer": answer}}})
    assert text.startswith("M: nih is training data, but")
    assert found(changed | {"seen": ["nih"], "answers": {"nih": {"answer": "labels"}}}) == []
    assert found({"others": ["images of Braxton, annihilated"], "answers": {"nih": {"answer": "no"}}}) == []


def test_letters_that_look_like_latin_letters_hide_no_training_data(tmp_path: Path) -> None:
    for text, num in (("\u039d\u0399\u0397", 1), ("N\u0399H", 1), ("Universit\u00e9 A \u2013 2,000 images", 0)):
        model = invented_model(PASSPORT | {"others": [text]})
        found = passport_problems(invented_manifest(Store(tmp_path), derived=(model,)))
        assert len(found) == num
        assert all("write them with Latin letters" in problem for problem in found)


def test_a_record_of_golden_outputs_has_counts_and_a_finite_difference() -> None:
    golden: dict[str, Any] = {"images": 6, "outputs": 9, "difference": 0.001}
    assert is_passport(PASSPORT)
    assert is_passport(PASSPORT | {"golden": golden})
    for wrong in (
        {"images": 0},
        {"outputs": True},
        {"difference": float("nan")},
        {"difference": -1},
        {"difference": "0"},
        {"more": 1},
    ):
        assert not is_passport(PASSPORT | {"golden": golden | wrong})
    assert not is_passport(PASSPORT | {"golden": None})


@pytest.mark.parametrize(
    ("golden", "line"),
    [
        (None, CheckLine("note", "golden", "M: none given, so no outputs of its owner were compared")),
        (
            0.001,
            CheckLine("ok", "golden", "M: golden outputs compared (6 images, 9 outputs each): equal up to 0.001 of X"),
        ),
        (
            0.5,
            CheckLine("missing", "golden", "M: the outputs differ from the golden outputs by 0.5 of X, more than 0.02"),
        ),
    ],
)
def test_a_board_refuses_a_model_that_differs_from_its_golden_outputs(
    golden: float | None, line: CheckLine, tmp_path: Path
) -> None:
    found = {} if golden is None else {"golden": {"images": 6, "outputs": 9, "difference": golden}}
    model = invented_model(PASSPORT | found)
    expected = replace(line, text=line.text.replace("X", "their standard deviation"))
    assert list(_golden(invented_manifest(Store(tmp_path), derived=(model,)))) == [expected]
