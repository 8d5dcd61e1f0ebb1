"""`bench explain`: logits, tables and pictures of image files by a stored run, and its error messages."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from bench.cli.main import app
from bench.extensions.heat_maps.explain_image import chosen_findings, explain_image
from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.panels import SHOWN, WARNING, Explanation, FindingMap, panel
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.planning.run import read_run
from bench.runs.stored_run import load
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, short_hash
from harmonize.errors import ConfigError, StoreError
from harmonize.images.pixels import Geometry, to_geometry
from harmonize.images.regions import InputTransform
from tests.untrained_run import WITH_THRESHOLD, finished_run, write_radiograph


@pytest.fixture
def radiograph(tmp_path: Path) -> Path:
    return write_radiograph(tmp_path)


@pytest.fixture
def explain(tmp_path: Path) -> Callable[..., Result]:
    finished_run(tmp_path)
    return lambda *arguments: CliRunner().invoke(
        app, ["explain", *map(str, arguments), "--store", str(tmp_path / "runs"), "-o", str(tmp_path / "out")]
    )


def test_a_run_can_be_read_back_from_its_document(tmp_path: Path) -> None:
    store, run = finished_run(tmp_path, uncertainty="u_multiclass")
    reread = read_run(store, run.id)
    assert (reread.id, reread.config, reread.document, reread.states) == (run.id, run.config, run.document, 3)
    assert {k: e.identity for k, e in reread.entries.items()} == {k: e.identity for k, e in run.entries.items()}


def test_logits_and_maps_equal_those_of_the_stored_network_on_the_preprocessed_image(
    tmp_path: Path, radiograph: Path
) -> None:
    store, run = finished_run(tmp_path, uncertainty="u_multiclass", preprocessing="crop_72_64")
    explanation = explain_image(load(store, run.id[:5]), radiograph, WITH_THRESHOLD)
    entry = run.entries["architecture"]
    network = build(entry.use, entry.options, 27, 1, num_findings=9, states=3, seed=3)
    image = cv2.imread(str(radiograph), cv2.IMREAD_GRAYSCALE)
    normalizer = Normalizer.of(run.preprocessing, network.mean, network.std, 1)
    x_NCHW = normalizer(torch.from_numpy(to_geometry(image, Geometry(72, "smallest_crop"))[None]))
    expected = heat_maps(network, x_NCHW)
    columns = [run.config.findings.index(name) for name in WITH_THRESHOLD]
    assert [a.logit for a in explanation.finding_maps] == pytest.approx(
        expected.logit_NK[0, columns].tolist(), abs=1e-5
    )
    assert explanation.input_side == 64
    assert explanation.gray.shape == (SHOWN, SHOWN)
    for finding_map, k in zip(explanation.finding_maps, columns, strict=True):
        large = upsampled(expected.heat_NKhw, SHOWN)[0, k].numpy()
        np.testing.assert_allclose(finding_map.heat, large, atol=1e-5 * max(large.max(), 1e-9))


def test_pictures_and_table_are_written_and_agree(
    explain: Callable[..., Result], tmp_path: Path, radiograph: Path
) -> None:
    result = explain(_run_id(tmp_path), radiograph, "--finding", "cardiomegaly", "--finding", "Edema")
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "out" / "explained.csv")
    assert rows["finding"].tolist() == ["Cardiomegaly", "Edema"]
    assert rows["threshold"].isna().tolist() == [False, True]
    assert rows["called"].tolist()[0] == (rows["probability"][0] >= 0.5)
    names = {"a-cardiomegaly.png", "a-edema.png", "explained.csv"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names - {"explained.csv"}:
        assert cv2.imread(str(tmp_path / "out" / name)).shape[1] > 2 * SHOWN
    assert f"{rows['logit'][0]:+.2f}" in result.output


@pytest.mark.parametrize("fit", ["squash", "letterbox", "smallest_crop"])
@pytest.mark.parametrize("region", [None, ("roi", 0.8)])
def test_a_transformed_mask_covers_the_same_object_as_in_the_image(fit: str, region: tuple[str, float] | None) -> None:
    image = np.full((150, 110), 40, np.uint8)
    image[60:90, 40:80] = 250
    geometry = Geometry(64, fit, (2.0, 4), region)
    moved = InputTransform.of(image, geometry).apply_to_mask(image > 200)
    visible = to_geometry(image, Geometry(64, fit, None, region)) > 145
    assert moved.any()
    assert (moved != visible).mean() < 0.01


def explanation_of(heat: np.ndarray) -> Explanation:
    finding_maps = tuple(FindingMap(f"Finding {k}", k - 1.0, 0.5, h) for k, h in enumerate(heat))
    gray = np.full((SHOWN, SHOWN), 128, np.uint8)
    return Explanation("i.png", "net, run 1", "4 x 4", 64, gray, finding_maps)


def test_an_empty_map_leaves_the_image_unchanged_and_odd_names_do_not_break_the_picture() -> None:
    heat = np.zeros((3, SHOWN, SHOWN), np.float32)
    heat[1, :40, :40] = 1e-30
    heat[2, 0, 0] = 3e38
    explanation = explanation_of(heat)
    pictures = [panel(explanation, finding_map) for finding_map in explanation.finding_maps]
    assert all(p.dtype == np.uint8 and p.shape == pictures[0].shape for p in pictures)
    overlay = pictures[0][100:400, 850:1100]
    assert np.ptp(overlay.astype(int)) == 0  # the gray image as it is
    assert not np.array_equal(pictures[0], pictures[1])
    odd = Explanation("é<script>" * 40, "x" * 300, "4 x 4", 64, explanation.gray, explanation.finding_maps * 3)
    assert panel(odd, odd.finding_maps[0]).shape == pictures[0].shape
    assert "clinical" in WARNING


@pytest.mark.parametrize(("logit", "probability"), [(-1e30, 0.0), (1e30, 1.0), (0.0, 0.5)])
def test_probabilities_are_finite_for_every_logit(logit: float, probability: float) -> None:
    finding_map = FindingMap("x", logit, float("nan"), np.zeros((2, 2), np.float32))
    assert finding_map.probability == probability
    assert finding_map.called is None


def test_unreadable_images_are_reported_and_the_others_are_explained(
    explain: Callable[..., Result], tmp_path: Path, radiograph: Path
) -> None:
    (tmp_path / "cut.png").write_bytes(radiograph.read_bytes()[:200])
    (tmp_path / "text.png").write_text("no image")
    cv2.imwrite(str(tmp_path / "flat.png"), np.zeros((40, 40), np.uint8))
    names = ["cut.png", "text.png", "absent.png", "flat.png", "a.png"]
    result = explain(_run_id(tmp_path), *(tmp_path / name for name in names), "--finding", "Edema")
    assert result.exit_code == 1
    assert result.output.count("cannot read the image") == 4
    rows = pd.read_csv(tmp_path / "out" / "explained.csv")
    assert rows["image"].tolist() == ["a.png"]
    assert np.isfinite(rows["logit"]).all()


def _run_id(tmp_path: Path) -> str:
    return Store.open(tmp_path / "runs").run_ids()[0][:6]


def test_two_images_with_the_same_name_do_not_overwrite_each_other(
    explain: Callable[..., Result], tmp_path: Path, radiograph: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.png").write_bytes(radiograph.read_bytes())
    assert explain(_run_id(tmp_path), radiograph, tmp_path / "b" / "a.png", "--finding", "Edema").exit_code == 0
    rows = pd.read_csv(tmp_path / "out" / "explained.csv")
    assert rows["picture"].tolist() == ["a-edema.png", "a-2-edema.png"]


def test_an_unlearned_finding_is_rejected_with_a_remedy(tmp_path: Path) -> None:
    store, run = finished_run(tmp_path)
    for name, message in (("Cardiomegali", "has not learned 'Cardiomegali'"), ("Hernia", "has not learned 'Hernia'")):
        with pytest.raises(ConfigError, match=message) as caught:
            chosen_findings(load(store, run.id), [name])
        assert ("did you mean 'Cardiomegaly'" in caught.value.fix) is (name == "Cardiomegali")


def test_runs_without_a_usable_network_are_rejected(tmp_path: Path) -> None:
    store, run = finished_run(tmp_path)
    with pytest.raises(StoreError, match="no run 'zzz'"):
        load(store, "zzz")
    with pytest.raises(StoreError, match="no run ''"):
        load(store, "")
    (store.run_dir(run.id) / "DONE").unlink()
    with pytest.raises(StoreError, match="not finished"):
        load(store, run.id)
    derived = b'{"kind":"tta","sources":["3fa94c1e02bd"]}'
    folder = store.begin(short_hash(derived), derived)
    (folder / "trained.json").write_text("{}")
    CheckedFolder(folder).mark_done()
    with pytest.raises(StoreError, match="no run '3fa94c1e02bd'"):  # a source is missing
        load(store, short_hash(derived))
    (store.run_dir(run.id) / "run.json").write_bytes(run.document.replace(b"adamw", b"adamx"))
    with pytest.raises(StoreError, match="does not match the run id"):
        load(store, run.id)


def test_a_run_without_the_reference_of_its_preprocessing_is_rejected(tmp_path: Path) -> None:
    store, run = finished_run(tmp_path, preprocessing="histstd_64")
    with pytest.raises(StoreError, match=r"reference\.json is missing\nwhere: .*\n  fix: run the grid again"):
        load(store, run.id)
