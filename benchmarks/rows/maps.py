"""B8: heat maps of fourteen findings, against a prediction, a pass per finding and the grad-cam package."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer

ARCHITECTURE, FINDINGS, SIZE = "efficientnet_b0", 14, 224


def against(way: str, *, more: bool) -> Callable[[bool], Measured]:
    """Return the benchmark against an implementation of `benchmarks/explain.py`; with `more` False, the ratio is ours / peer."""

    def run(quick: bool) -> Measured:
        import torch

        from bench.analyses.heatmaps.gradcam import heat_maps
        from bench.config.registry import Registry
        from bench.models.network import build
        from benchmarks import explain

        if way == "package":
            peer("pytorch_grad_cam", "grad-cam")
        torch.set_num_threads(1)
        entry = Registry.read(Path(__file__).parents[2] / "registry.yaml").find("architectures", ARCHITECTURE, "B8")
        network = build(entry.use, entry.options, FINDINGS)
        x_NCHW = torch.randn(1 if quick else 4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        theirs: Callable[..., Any] = getattr(explain, way)
        heat = heat_maps(network, x_NCHW).heat_NKhw
        other = theirs(network, x_NCHW)
        gate = "the forward pass alone"
        if way != "forward":
            off = float((other - heat).abs().max() / heat.abs().max())
            gate = check(off <= 1e-5, f"largest relative difference {off:.0e}")
        ways = {"ours": lambda: heat_maps(network, x_NCHW), "peer": lambda: theirs(network, x_NCHW)}
        spent = interleaved(ways, 1 if quick else 5, items=dict.fromkeys(ways, len(x_NCHW)))
        first, second = ("peer", "ours") if more else ("ours", "peer")
        note = f"{ms(spent['peer'])} against {ms(spent['ours'])} an image"
        return compared(spent[first], spent[second], gate, note)

    return run


WHAT = f"heat maps of {FINDINGS} findings, {ARCHITECTURE}, {SIZE} px"
BENCHMARKS = (
    Benchmark(
        "B8", f"{WHAT}: how much longer than a prediction", "a prediction", "<= 1.2", against("forward", more=False)
    ),
    Benchmark("B8", WHAT, "a pass per finding, hooks", "", against("hooked", more=True)),
    Benchmark("B8", WHAT, "grad-cam", "", against("package", more=True)),
)
