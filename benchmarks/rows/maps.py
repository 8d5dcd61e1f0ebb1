"""B8: heat maps of fourteen findings, compared with a prediction, with one pass per finding, and with the grad-cam package.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer

ARCHITECTURE, FINDINGS, SIZE = "efficientnet_b0", 14, 224


def against(implementation: str, *, peer_is_slower: bool) -> Callable[[bool], Measured]:
    """Return the benchmark against an implementation of `benchmarks/explain.py`.

    If `peer_is_slower`, the ratio is the peer's time divided by ours; otherwise, it is our time divided by the peer's.
    """

    def run(quick: bool) -> Measured:
        import torch

        from bench.config.registry import Registry
        from bench.extensions.heat_maps.gradcam import heat_maps
        from bench.models.network import build
        from benchmarks import explain

        if implementation == "package":
            peer("pytorch_grad_cam", "grad-cam")
        torch.set_num_threads(1)
        entry = Registry.read(Path(__file__).parents[2] / "registry.yaml").find("architectures", ARCHITECTURE, "B8")
        network = build(entry.use, entry.options, FINDINGS)
        x_NCHW = torch.randn(1 if quick else 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        peer_maps: Callable[..., Any] = getattr(explain, implementation)
        heat = heat_maps(network, x_NCHW).heat_NKhw
        peer_heat = peer_maps(network, x_NCHW)
        gate = "none: the peer computes no heat maps"
        if implementation != "forward":
            difference = float((peer_heat - heat).abs().max() / heat.abs().max())
            gate = check(difference <= 1e-5, f"largest relative difference from the peer's maps: {difference:.0e}")
        implementations = {"ours": lambda: heat_maps(network, x_NCHW), "peer": lambda: peer_maps(network, x_NCHW)}
        spent = interleaved(implementations, 1 if quick else 5, items=dict.fromkeys(implementations, len(x_NCHW)))
        first, second = ("peer", "ours") if peer_is_slower else ("ours", "peer")
        note = f"time per image: peer {ms(spent['peer'])}, ours {ms(spent['ours'])}"
        return compared(spent[first], spent[second], gate, note)

    return run


WHAT = f"heat maps of {FINDINGS} findings, {ARCHITECTURE}, {SIZE} px"
BENCHMARKS = (
    Benchmark(
        "B8",
        WHAT,
        "prediction without heat maps",
        "<= 1.2",
        against("forward", peer_is_slower=False),
    ),
    Benchmark(
        "B8", WHAT, "forward and backward pass per finding, with hooks", "", against("hooked", peer_is_slower=True)
    ),
    Benchmark("B8", WHAT, "grad-cam package", "", against("package", peer_is_slower=True)),
)
