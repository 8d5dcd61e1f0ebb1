"""Labels of a hospital: of some or of all its images; ids in another form are explained."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.extensions.estimates.local_labels import measured, read_local_labels
from harmonize.errors import ConfigError

IDS = [f"inbox/{k:03}.png" for k in range(60)]
DRAW = np.random.default_rng(1)
LABEL = (DRAW.random(60) < 0.4).astype(int)
LOGIT = (1.5 * LABEL - 1 + DRAW.normal(size=60)).astype(np.float32)[:, None]
INTERNAL: Any = SimpleNamespace(
    platt=SimpleNamespace(apply=lambda logit: 1 / (1 + np.exp(-logit))), calls=lambda logit: logit > 0
)


def scores(path: Path) -> pd.DataFrame:
    local = read_local_labels(path, IDS, ("Edema",))
    table = measured(local, ("Edema",), {"run": [INTERNAL]}, {"run": LOGIT})
    return table.set_index("quantity")


@pytest.mark.parametrize("by_patient", [False, True])
def test_labels_of_all_images_give_the_scores_of_the_labels(by_patient: bool, tmp_path: Path) -> None:
    labels = pd.DataFrame({"image_id": IDS, "Edema": LABEL})
    if by_patient:  # one image of each patient has no label, but its patient has one
        labels["patient_id"] = [f"p{k // 3}" for k in range(60)]
        labels["Edema"] = labels["Edema"].astype(object).mask(np.arange(60) % 3 == 0, "")
    labels.to_csv(tmp_path / "labels.csv", index=False)
    table = scores(tmp_path / "labels.csv")
    used = np.arange(60) % 3 != 0 if by_patient else np.full(60, True)
    assert table.loc["auroc", "value"] == pytest.approx(roc_auc_score(LABEL[used], LOGIT[used, 0]))
    assert table.loc["prevalence", "value"] == pytest.approx(LABEL[used].mean())
    assert (table["low"] == table["labels_low"]).all()
    assert table.loc["auroc", "low"] < table.loc["auroc", "value"] < table.loc["auroc", "high"]


def test_labels_of_some_images_use_the_predictions(tmp_path: Path) -> None:
    pd.DataFrame({"image_id": IDS, "Edema": LABEL}).iloc[:40].to_csv(tmp_path / "labels.csv", index=False)
    table = scores(tmp_path / "labels.csv")
    assert (table["num_patients"] == 40).all()


@pytest.mark.parametrize("blank", ["", "nan", "NA", "None"])
def test_images_without_a_patient_are_patients_of_their_own(blank: str, tmp_path: Path) -> None:
    labels = pd.DataFrame({"image_id": IDS, "patient_id": blank, "Edema": LABEL})
    labels.iloc[:40].to_csv(tmp_path / "labels.csv", index=False)
    assert (scores(tmp_path / "labels.csv")["num_patients"] == 40).all()


def test_an_image_with_two_rows_is_refused(tmp_path: Path) -> None:
    twice = [*IDS, "000.png"]  # with and without its folder
    pd.DataFrame({"image_id": twice, "Edema": [*LABEL, 0]}).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ConfigError, match=r"'inbox/000\.png' has two rows"):
        scores(tmp_path / "labels.csv")


def test_ids_without_ending_are_explained_with_both_forms(tmp_path: Path) -> None:
    stems = [Path(name).stem for name in IDS]
    pd.DataFrame({"image_id": stems, "Edema": LABEL}).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ConfigError, match="60 of 60 images are not among") as error:
        read_local_labels(tmp_path / "labels.csv", IDS, ("Edema",))
    assert "'000' and 'inbox/000.png'" in error.value.what
