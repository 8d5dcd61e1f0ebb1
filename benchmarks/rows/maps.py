"""B8: heat maps of fourteen findings, compared with a prediction, and with a forward and backward pass per finding.

A gate checks that our maps equal those of the passes per finding.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms

ARCHITECTURE, FINDINGS, SIZE = "efficientnet_b0", 14, 224


def hooked(network: torch.nn.Module, x_NCHW: Tensor) -> Tensor:
    """Return heat_NKhw (maps of h x w pixels) by the usual method: a forward and a backward pass per finding."""
    from bench.extensions.heat_maps.gradcam import frozen, gradcam

    outputs: list[Tensor] = []

    def record(_module: object, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()

    module, heat_maps_K = network.backbone.get_submodule("bn2"), []  # its output is the input of the head
    with frozen(network):
        x_NCHW = x_NCHW.detach().clone().requires_grad_()
        for k in range(FINDINGS):
            outputs.clear()
            hook = module.register_forward_hook(record)
            logit_NK = network(x_NCHW)
            hook.remove()
            (gradient,) = torch.autograd.grad(logit_NK[:, k].sum(), outputs[0])
            heat_maps_K.append(gradcam(outputs[0].detach(), gradient[None])[:, 0])
    return torch.stack(heat_maps_K, 1)


def against(quick: bool, *, per_finding: bool) -> Measured:
    """Compare our heat maps with passes per finding (the peer's time divided by ours), or else with a prediction (the inverse)."""
    from bench.config.registry import Registry
    from bench.extensions.heat_maps.gradcam import frozen, heat_maps
    from bench.models.network import build

    def prediction() -> Tensor:
        with frozen(network), torch.inference_mode():
            return network(x_NCHW)

    torch.set_num_threads(1)
    entry = Registry.read(Path(__file__).parents[2] / "registry.yaml").find("architectures", ARCHITECTURE, "B8")
    network = build(entry.use, entry.options, FINDINGS)
    x_NCHW = torch.randn(1 if quick else 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    gate, peer = "none: the peer computes no heat maps", prediction
    if per_finding:
        peer = partial(hooked, network, x_NCHW)
        heat = heat_maps(network, x_NCHW).heat_NKhw
        difference = float((peer() - heat).abs().max() / heat.abs().max())
        gate = check(difference <= 1e-5, f"largest relative difference from the peer's maps: {difference:.0e}")
    implementations = {"ours": lambda: heat_maps(network, x_NCHW), "peer": peer}
    spent = interleaved(implementations, 1 if quick else 5, items=dict.fromkeys(implementations, len(x_NCHW)))
    first, second = ("peer", "ours") if per_finding else ("ours", "peer")
    note = f"time per image: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}"
    return compared(spent[first], spent[second], gate, note)


WHAT = f"heat maps of {FINDINGS} findings, {ARCHITECTURE}, {SIZE} px"
PASSES = "forward and backward pass per finding, with hooks"
BENCHMARKS = (
    Benchmark("B8", WHAT, "prediction without heat maps", "<= 1.2", partial(against, per_finding=False)),
    Benchmark("B8", WHAT, PASSES, "", partial(against, per_finding=True)),
)
