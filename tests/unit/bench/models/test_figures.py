"""The figures of the registry are the measured ones of the study's table (nine outputs, 3 x 224 x 224)."""

import csv
from functools import cache
from pathlib import Path

import pytest
import torch

from bench.config.registry import Registry
from bench.models.cost import Cost
from bench.models.network import Network, build

ENTRIES = Registry.read(Path(__file__).parents[4] / "registry.yaml").sections["architectures"]
with (Path(__file__).parent / "architectures.csv").open(newline="") as file:
    TABLE = {row["key"]: row for row in csv.DictReader(file)}
TINY = {"depths": [1, 1, 1, 1], "widths": [16, 32, 64, 128]}


@cache
def shapes_of(key: str) -> Network:
    with torch.device("meta"):
        return build(ENTRIES[key].use, ENTRIES[key].options, 9).eval()


@pytest.mark.parametrize("key", TABLE)
def test_the_registry_states_the_figures_of_the_table(key: str) -> None:
    row, entry = TABLE[key], ENTRIES[key]
    assert str(entry.options.get("name", "")).partition(".")[0] == row["timm"]
    assert entry.facts["params"] == pytest.approx(float(row["params_M"]), rel=1e-3)
    assert entry.facts["gmacs"] == pytest.approx(float(row["gmacs_224"]), rel=1e-2)
    assert entry.facts["min_px"] == int(row["min_px"])


@pytest.mark.parametrize("key", ENTRIES)
def test_a_network_has_the_parameters_that_are_stated(key: str) -> None:
    params = sum(p.numel() for p in shapes_of(key).parameters())
    assert params / 1e6 == pytest.approx(ENTRIES[key].facts["params"], rel=1e-3)


@pytest.mark.parametrize("key", TABLE)
def test_a_network_has_the_features_and_the_scaling_of_the_table(key: str) -> None:
    network = shapes_of(key)
    assert network.embed(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, int(TABLE[key]["features"]))
    assert network.mean[0] == pytest.approx(float(TABLE[key]["mean"]), abs=1e-3)


@pytest.mark.parametrize("key", ENTRIES)
def test_pretrained_weights_have_a_pinned_tag_a_corpus_and_a_licence(key: str) -> None:
    entry = ENTRIES[key]
    if entry.use == "bench.models.network:timm_model":
        tag = entry.options["name"].partition(".")[2]
        config = shapes_of(key).backbone.pretrained_cfg
        if entry.facts["corpus"] == "none":  # a network of other sizes, which the published weights do not fit
            assert not tag
            return
        assert tag == config["tag"]
        assert entry.facts["corpus"] in tag
        assert entry.licence == config["license"]
        assert config.get("hf_hub_id") or config.get("url")


@pytest.mark.slow
def test_repvgg_is_deployed_smaller_and_computes_the_same() -> None:
    entry = ENTRIES["repvgg_b0"]
    network = build(entry.use, entry.options, 9)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # as after training: no branch is neutral
                for values in (module.weight, module.running_var):
                    values.uniform_(0.5, 1.5, generator=generator)
                for values in (module.bias, module.running_mean):
                    values.normal_(0, 0.2, generator=generator)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fused = network.deployed()
    images = torch.rand(4, 3, 64, 64, generator=generator)
    with torch.inference_mode():
        logit, same = network.eval()(images), fused(images)
    assert float((logit - same).abs().max() / logit.abs().max()) < 1e-4
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    stated = {network: (entry.facts["params"], entry.facts["gmacs"]), fused: (13.070, 3.056)}
    for form, (params, gmacs) in stated.items():
        cost = Cost.of(form, 224)
        assert cost.params / 1e6 == pytest.approx(params, rel=1e-3)
        assert cost.macs / 1e9 == pytest.approx(gmacs, rel=1e-2)


def test_a_network_of_one_form_is_deployed_as_it_is() -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 9)
    assert network.deployed() is network


@pytest.mark.slow
def test_any_re_parameterisable_model_of_timm_is_deployed_fused() -> None:
    network = build("bench.models.network:timm_model", {"name": "mobileone_s0"}, 9).eval()
    fused = network.deployed()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logit = network(images)
        torch.testing.assert_close(fused(images), logit, rtol=1e-4, atol=1e-4 * float(logit.abs().max()))
    assert Cost.of(fused, 64).params < Cost.of(network, 64).params / 2
