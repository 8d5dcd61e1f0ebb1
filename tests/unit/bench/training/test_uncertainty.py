"""Label states become targets and weights."""

import pytest
import torch
from torch import Tensor

from bench.config.registry import Registry
from bench.models.network import finding_logits
from bench.training.losses import three_states
from bench.training.uncertainty import Labels, blank, ignore, mixed, multiclass, ones, smooth, zeros
from harmonize.errors import ConfigError
from harmonize.labels.findings import space

STATE = torch.tensor([[-1, 0, 1, -3]], dtype=torch.int8)
LABELS = Labels(STATE, ["image"], ["A", "B", "C", "D"])


def with_nan(pair: tuple[Tensor, Tensor]) -> list[float | None]:
    target, weight = pair
    return [float(t) if w else None for t, w in zip(target[0], weight[0], strict=True)]


def test_each_policy_reads_uncertain_as_its_name_says() -> None:
    assert with_nan(ones(LABELS)) == [1, 0, 1, None]
    assert with_nan(zeros(LABELS)) == [0, 0, 1, None]
    assert with_nan(ignore(LABELS)) == [None, 0, 1, None]


def test_blank_turns_not_mentioned_into_absent_or_into_nothing() -> None:
    state = torch.tensor([[-2, -1, 1, -3]], dtype=torch.int8)
    assert blank(state, "zero").tolist() == [[0, -1, 1, -3]]
    assert blank(state, "ignore").tolist() == [[-3, -1, 1, -3]]
    assert blank(state, "zero").dtype == torch.int8


def test_an_unknown_blank_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="zero or ignore"):
        blank(STATE, "negative")


def test_smoothed_policies_draw_inside_their_range_once_per_seed_image_and_finding() -> None:
    n = 400
    state = torch.full((n, 2), -1, dtype=torch.int8)
    ids = [f"image{i}" for i in range(n)]
    target, weight = smooth(Labels(state, ids, ["Edema", "Pneumonia"]), 0.55, 0.85)
    assert bool((weight == 1).all())
    assert 0.55 <= float(target.min()) < 0.56 < 0.84 < float(target.max()) < 0.85
    assert float(target.mean()) == pytest.approx(0.7, abs=0.01)  # of 800 draws: standard error .003
    assert float(torch.corrcoef(target.T)[0, 1]) == pytest.approx(0, abs=0.2)
    assert len(set(target.flatten().tolist())) > 790
    again, _ = smooth(Labels(state[:, [1]], ids, ["Pneumonia"]), 0.55, 0.85)
    assert torch.equal(again[:, 0], target[:, 1])
    other, _ = smooth(Labels(state, ids, ["Edema", "Pneumonia"], seed=1), 0.55, 0.85)
    assert not bool((other == target).any())


def test_three_states_keep_uncertain_as_a_class_of_its_own() -> None:
    assert with_nan(multiclass(LABELS)) == [0.5, 0, 1, None]
    output = torch.tensor([[1.0, 0.5, -1.0]])  # absent, uncertain, present
    chance = torch.softmax(output, 1)[0]
    for state, target in enumerate((0.0, 0.5, 1.0)):
        loss = three_states(output, torch.tensor([[target]]), torch.ones(1, 1))
        assert float(loss) == pytest.approx(-float(chance[state].log()), abs=1e-6)


def test_the_logit_of_three_states_leaves_uncertain_out() -> None:
    output = torch.tensor([[1.0, 0.5, -1.0, 0.0, 9.0, 2.0]])
    logit = finding_logits(output, 3)
    assert logit.tolist() == [[-2.0, 2.0]]
    assert float(torch.sigmoid(logit[0, 0])) == pytest.approx(0.1192029, abs=1e-7)
    assert finding_logits(output, 1) is output


def test_three_states_take_out_pairs_without_weight() -> None:
    torch.manual_seed(0)
    output = torch.randn(4, 6, requires_grad=True)
    target, weight = torch.tensor([[0.0, torch.nan]] * 4), torch.tensor([[1.0, 0.0]] * 4)
    loss = three_states(output, target, weight)
    torch.testing.assert_close(loss, three_states(output[:, :3], target[:, :1], weight[:, :1]))
    loss.backward()
    assert output.grad is not None
    assert bool((output.grad[:, 3:] == 0).all())
    assert float(three_states(output, target, 0 * weight).detach()) == 0


def test_a_mixture_gives_each_finding_its_own_policy() -> None:
    labels = Labels(torch.full((1, 3), -1, dtype=torch.int8), ["image"], ["A", "B", "C"])
    assert with_nan(mixed(labels, {"A": "ones", "B": "ignore"}, "zeros")) == [1, None, 0]
    with pytest.raises(ConfigError, match="unknown policy 'twos' for A"):
        mixed(labels, {"A": "twos"})
    with pytest.raises(ConfigError, match="no finding 'Edmea'") as error:  # it would silently be read as `otherwise`
        mixed(labels, {"Edmea": "ones"})
    assert "did you mean 'Edema'?" in error.value.fix
    assert with_nan(mixed(labels, {"Edema": "ones"}, "zeros")) == [0, 0, 0]  # a finding that this run does not have


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.1), (5.0, 8.0), (-0.1, 0.3), (float("nan"), 0.8)])
def test_smoothed_targets_are_probabilities(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="bound no target"):
        smooth(Labels(torch.tensor([[-1]]), ["a"], ["Edema"]), low, high)


def test_the_registrys_mixture_names_findings_that_exist() -> None:
    assert set(Registry.read().sections["uncertainty"]["u_mixed"].options["of"]) <= set(space("chexpert-14"))


def test_explicit_labels_alone_teach_under_explicit_only() -> None:
    entry = Registry.read().sections["uncertainty"]["explicit_only"]
    state = blank(torch.tensor([[-2, -1, 1, 0]], dtype=torch.int8), entry.facts["blank"])
    labels = Labels(state, ["image"], ["A", "B", "C", "D"])
    assert with_nan(entry.load()(labels, **entry.options)) == [None, None, 1, 0]
