"""`bench estimate` refuses wrong labels before it predicts the images."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.extensions.estimates.expected_at_hospital import checked_request
from harmonize.errors import CxrError

GRID = SimpleNamespace(
    name="demo",
    run_of={"a": SimpleNamespace(config=SimpleNamespace(findings=("Edema", "Pneumonia")))},
    scored_findings=lambda run: run.config.findings,
)


def test_a_right_request_returns_the_findings(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image_id,Edema\nx.png,1\ny.png,-2\n")
    findings = checked_request(GRID, ["a"], "mean_gap", tmp_path / "labels.csv")
    assert findings == ("Edema", "Pneumonia")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot read the table"),
        ("image_id,Ascites\nx.png,1\n", "no column is a finding of the runs"),
        ("image_id,Edema\nx.png,yes\n", "'yes' is not a label"),
        ("image_id,Edema,Pneumonia\nx.png,1\n", "2 cells in a table of 3 columns"),
        ("image_id,Edema\nx.png,1\nx.png,0\n", "occurs twice"),
    ],
)
def test_wrong_labels_are_refused(text: str | None, what: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CxrError, match=what) as refused:
        checked_request(GRID, ["a"], "mean_gap", path)
    assert refused.value.where.startswith(str(path))
