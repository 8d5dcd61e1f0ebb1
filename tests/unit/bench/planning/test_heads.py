"""What is learnt beside the findings: targets from the internal table, one loss, outputs in one order."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.config.run_config import HeadWeights, RunConfig
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.models.predict import predict, weights_sha256
from bench.planning.auxiliary_targets import check_targets, targets
from bench.training.losses import bce
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.errors import DatasetError
from harmonize.labels.findings import space
from tests.unit.bench.planning.test_plan import GRID, patients, plan
from tests.unit.bench.training.test_train import CPU, REGISTRY, a_cohort, a_run, train

NAMES = dict.fromkeys(("architecture", "optimizer", "loss", "uncertainty", "preprocessing"), "x")


def config(**changes: object) -> RunConfig:
    return RunConfig(**NAMES, **changes)  # type: ignore[arg-type]


def table(rows: list[dict[str, object]], name: str = "shared-9") -> pd.DataFrame:
    """Rows of a cohort table; what a row does not state is not mentioned."""
    columns = [*space(name), "native:Support Devices"]
    frame = pd.DataFrame([{**dict.fromkeys(columns, -2), "view": "PA", "sex": "F", **row} for row in rows])
    return frame.astype(dict.fromkeys(columns, "Int8"))


def column(rows: list[dict[str, object]], head: str, **changes: object) -> list[float | None]:
    name = str(changes.get("space", "shared-9"))
    chosen = config(heads="dual_auxiliary", **changes)
    place = [h.name for h in chosen.auxiliary_heads].index(head)
    return [None if math.isnan(v) else v for v in targets(table(rows, name), chosen)[:, place].tolist()]


def test_a_picture_is_abnormal_by_any_disease_and_normal_by_no_finding_alone() -> None:
    rows = [{"Edema": 1}, {"No Finding": 1}, {"No Finding": 1, "Edema": 1}, {"Edema": -1}, {"No Finding": 0}, {"No Finding": None}]  # fmt: skip
    assert column(rows, "abnormal") == [1, 0, None, 1, 1, None]
    assert column(rows, "abnormal", blank="ignore") == [1, 0, None, None, 1, None]


def test_support_devices_are_no_disease() -> None:
    rows = [{"No Finding": 1, "Support Devices": 1}, {"No Finding": None, "Support Devices": 1}]
    assert column(rows, "abnormal", space="chexpert-14") == [0, None]


def test_auxiliary_targets_are_read_from_devices_view_and_sex() -> None:
    rows = [{"native:Support Devices": s} for s in (1, 0, -1, -2, None)]
    assert column(rows, "device") == [1, 0, None, 0, None]
    assert column(rows, "device", blank="ignore") == [1, 0, None, None, None]
    assert column([{"view": v} for v in ("AP", "PA", "FRONTAL", "")], "projection") == [1, 0, None, None]
    assert column([{"sex": v} for v in ("M", "F", "")], "sex") == [1, 0, None]


def test_heads_come_in_one_order_and_weight_zero_leaves_one_out() -> None:
    chosen = config(heads="dual_auxiliary", head_weights=HeadWeights(device=0.0, sex=0.2))
    assert [(h.name, h.weight, h.finding) for h in chosen.auxiliary_heads] == [("abnormal", 0.5, None), ("projection", 0.005, None), ("sex", 0.2, None)]  # fmt: skip
    assert config().auxiliary_heads == ()


def test_where_abnormal_is_a_finding_the_dual_head_is_that_finding() -> None:
    chosen = config(heads="dual", space="nih-14-abnormal")
    (head,) = chosen.auxiliary_heads
    assert (head.finding, chosen.own_heads) == (14, ())
    assert column([{"Abnormal": s} for s in (1, 0, -1, None)], "abnormal", space="nih-14-abnormal") == [
        1,
        0,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("missing", "head"), [("view", "projection"), ("sex", "sex"), ("native:Support Devices", "device")]
)
def test_a_cohort_that_cannot_teach_a_head_is_refused_with_the_mend(missing: str, head: str) -> None:
    rows: list[dict[str, object]] = [
        {"view": view, "sex": sex, "native:Support Devices": s} for view, sex, s in (("AP", "M", 1), ("PA", "F", 0))
    ]
    whole, chosen = table(rows), config(heads="auxiliary")
    check_targets(whole, chosen, "internal")
    for lacking in (
        whole.iloc[:1].assign(**{missing: whole[missing]}),
        whole.assign(**{missing: whole[missing].iloc[0]}),
    ):
        with pytest.raises(DatasetError) as error:
            check_targets(lacking, chosen, "internal")
        assert "head_weights." in error.value.fix
    assert head in error.value.what


def test_a_table_without_such_columns_is_refused_before_anything_trains(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="device"):
        plan(tmp_path, patients(60), grid=GRID.replace("channels: 1", "channels: 1, heads: auxiliary"))


def test_a_table_with_normal_and_abnormal_images_can_have_a_dual_head(tmp_path: Path) -> None:
    made = plan(tmp_path, patients(60), grid=GRID.replace("channels: 1", "channels: 1, heads: dual"))
    target = targets(made.cohorts["internal"].table, made.runs[0].config)
    assert target[:4].tolist() == [[1], [0], [1], [0]]


def examples(n: int = 12) -> Examples:
    generator = np.random.default_rng(0)
    ids = np.array([f"i{i}" for i in range(n)], object)
    state = generator.choice(np.array([1, 0, -1], np.int8), (n, 9))
    head = generator.choice(np.array([1, 0, np.nan], np.float32), (n, 4))
    return Examples(ids, ids, np.arange(n), state, head)


def test_the_objective_is_the_weighted_sum_of_the_heads_losses() -> None:
    run, some = a_run(heads="dual_auxiliary", head_weights=HeadWeights(findings=2.0)), examples()
    taught = TrainingTargets.of(run, some, CPU)
    output, place = torch.randn(5, 13), torch.tensor([3, 1, 4, 11, 5])
    expected = 2 * bce(output[:, :9], taught.target_NK[place], taught.weight_NK[place])
    for i, weight in enumerate((0.5, 0.3, 0.005, 0.01)):
        target = torch.from_numpy(some.head_NT)[place, i]
        known = ~target.isnan()
        if known.any():
            expected += weight * torch.nn.functional.binary_cross_entropy_with_logits(
                output[known, 9 + i], target[known]
            )
    torch.testing.assert_close(TrainingLoss(run, taught)(output, place), expected)


def test_a_batch_that_teaches_no_further_head_has_the_loss_of_its_findings() -> None:
    run, some = a_run(heads="dual_auxiliary"), examples()
    assert some.head_NT is not None
    some.head_NT[:] = np.nan
    taught = TrainingTargets.of(run, some, CPU)
    output, place = torch.randn(12, 13, requires_grad=True), torch.arange(12)
    loss = TrainingLoss(run, taught)(output, place)
    torch.testing.assert_close(loss, TrainingLoss(a_run(), taught)(output[:, :9], place))
    loss.backward()
    assert output.grad is not None
    assert bool((output.grad[:, 9:] == 0).all())


def test_an_abnormal_finding_is_taught_by_the_dual_head_alone() -> None:
    run = a_run(heads="dual", space="nih-14-abnormal")
    n = 6
    ids = np.array([f"i{i}" for i in range(n)], object)
    state = np.tile(np.array([[1], [0], [1], [0], [1], [0]], np.int8), (1, 15))
    taught = TrainingTargets.of(run, Examples(ids, ids, np.arange(n), state, state[:, 14:].astype(np.float32)), CPU)
    output, place = torch.randn(n, 15, requires_grad=True), torch.arange(n)
    loss = TrainingLoss(run, taught)(output, place)
    target = taught.target_NK
    torch.testing.assert_close(
        loss, bce(output[:, :14], target[:, :14], target[:, :14] * 0 + 1) + 0.5 * bce(output[:, 14:], target[:, 14:], target[:, 14:] * 0 + 1)
    )  # fmt: skip
    assert taught.unlearnt() == ()


def test_three_states_and_further_heads_lie_beside_each_other_in_the_outputs() -> None:
    entry = REGISTRY.sections["architectures"]["seresnet_tiny"]
    network = build(entry.use, entry.options, 2 * 3 + 1, 1, num_findings=2, states=3).eval()
    x = torch.rand(3, 1, 32, 32)
    output = network.outputs(x)
    torch.testing.assert_close(network(x), torch.stack([output[:, 2] - output[:, 0], output[:, 5] - output[:, 3]], 1))
    torch.testing.assert_close(network.auxiliary(output), output[:, 6:])
    torch.testing.assert_close(network.outputs_and_features(x)[0], output)
    reader, _, val = a_cohort()
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    assert predict(network, normalizer, reader, val.rows, CPU)[0].shape == (12, 2)
    assert predict(network, normalizer, reader, val.rows, CPU, auxiliary=True)[0].shape == (12, 3)


@pytest.mark.slow
def test_a_run_whose_loss_has_weights_of_its_own_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run = a_run("sam", loss="aucm")
    whole = train(run, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(run, tmp_path / "stopped.pt", stop_at=5)
    resumed = train(run, tmp_path / "stopped.pt")
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)
    saved, other = (torch.load(tmp_path / f"{n}.pt", weights_only=True)["objective"] for n in ("whole", "stopped"))
    assert set(saved) == {"loss.a_K", "loss.b_K", "loss.alpha_K"}
    for name, value in saved.items():
        assert torch.equal(value, other[name])
        assert not torch.equal(value, torch.full_like(value, 1.0 if "alpha" in name else 0.5))  # it has learnt


@pytest.mark.parametrize("loss", ["bce", "bce_weighted", "auc_hinge", "aucm"])
def test_saying_nothing_of_heads_and_saying_none_is_the_same_objective(loss: str) -> None:
    run, some = a_run(loss=loss), examples()
    with_table = TrainingTargets.of(run, some, CPU)
    without = TrainingTargets.of(run, Examples(some.image_id, some.patient_id, some.rows, some.state_NK), CPU)
    output, place = torch.randn(12, 9), torch.arange(12)
    torch.testing.assert_close(TrainingLoss(run, with_table)(output, place), TrainingLoss(run, without)(output, place))
