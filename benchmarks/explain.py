"""Measure the time of the heat maps of all findings, compared with the time of three alternatives.

The alternatives are a prediction without heat maps, a backward pass for each finding, and the package grad-cam.

    OMP_NUM_THREADS=1 python benchmarks/explain.py                       # densenet121, resnet50, efficientnet_b0 at 224 px
    python benchmarks/explain.py --device cuda --images 64

All implementations get the same network, images and feature maps of the last stage, and take turns in one process. The time of
the fastest round counts. Before the timing, the heat maps of all implementations must agree to a relative difference of 1e-5.

The package grad-cam is compared if it is installed (`pip install grad-cam`). The package scales each map to [0, 1]; its maps are
compared before this scaling.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.config.registry import Registry
from bench.extensions.heat_maps.gradcam import frozen, gradcam, heat_maps
from bench.models.network import Network, build


def forward(network: Network, x_NCHW: Tensor) -> Tensor:
    """Return logit_NK (N images, K findings). The table divides all other times by the time of this prediction."""
    with frozen(network), torch.inference_mode():
        return network(x_NCHW)


def hooked(network: Network, x_NCHW: Tensor) -> Tensor:
    """Return heat_NKhw (maps of h x w pixels) by the usual method: a forward and a backward pass per finding."""
    outputs: list[Tensor] = []

    def record(_module: object, _inputs: object, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()

    module, heat_maps_K = last_module(network), []
    with frozen(network):
        x_NCHW = x_NCHW.detach().clone().requires_grad_()
        for k in range(network.backbone.num_classes):
            outputs.clear()
            hook = module.register_forward_hook(record)
            logit_NK = network(x_NCHW)
            hook.remove()
            (gradient,) = torch.autograd.grad(logit_NK[:, k].sum(), outputs[0])
            heat_maps_K.append(gradcam(outputs[0].detach(), gradient[None])[:, 0])
    return torch.stack(heat_maps_K, 1)


def last_module(network: Network) -> torch.nn.Module:
    """Return the module whose output is the input of the head."""
    names = {"DenseNet": "features", "ResNet": "layer4", "EfficientNet": "bn2"}
    return network.backbone.get_submodule(names[type(network.backbone).__name__])


def package(network: Network, x_NCHW: Tensor) -> Tensor:
    """Return heat_NKhw of the grad-cam package, with one call per finding."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Raw(GradCAM):
        def compute_cam_per_layer(
            self, input_tensor: Tensor, targets: list[ClassifierOutputTarget], eigen_smooth: bool
        ) -> list[np.ndarray]:
            activations, gradients = self.activations_and_grads.activations[0], self.activations_and_grads.gradients[0]
            args = (input_tensor, self.target_layers[0], targets, activations.cpu().data.numpy())
            cam = self.get_cam_image(*args, gradients.cpu().data.numpy(), eigen_smooth)
            return [np.maximum(cam, 0)[:, None]]

        def aggregate_multi_layers(self, per_layer: list[np.ndarray]) -> np.ndarray:
            return per_layer[0][:, 0]

    network.eval()
    with Raw(model=network, target_layers=[last_module(network)]) as cam:
        maps = [cam(x_NCHW, [ClassifierOutputTarget(k)] * len(x_NCHW)) for k in range(network.backbone.num_classes)]
    return torch.from_numpy(np.stack(maps, 1))


def seconds(compute: Callable[[Network, Tensor], object], network: Network, x_NCHW: Tensor) -> float:
    """Return the seconds of one call: CPU time on a CPU, which other processes hardly change, or wall-clock time on a GPU."""
    if x_NCHW.device.type == "cpu":
        start = time.process_time()
        compute(network, x_NCHW)
        return time.process_time() - start
    torch.cuda.synchronize(x_NCHW.device)
    start = time.perf_counter()
    compute(network, x_NCHW)
    torch.cuda.synchronize(x_NCHW.device)
    return time.perf_counter() - start


def main() -> None:
    """Check that all implementations agree, measure their times and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architectures", nargs="+", default=["densenet121", "resnet50", "efficientnet_b0"])
    parser.add_argument("--device", default="cpu")
    for architecture, default in (("images", 4), ("findings", 14), ("size", 224), ("rounds", 3)):
        parser.add_argument(f"--{architecture}", type=int, default=default)
    options = parser.parse_args()
    registry = Registry.read(Path(__file__).parents[1] / "registry.yaml")
    implementations: dict[str, Callable[[Network, Tensor], object]] = {
        "prediction": forward,
        "all findings at once": heat_maps,
        "hooks, per finding": hooked,
    }
    try:
        import pytorch_grad_cam  # noqa: F401

        implementations["grad-cam package"] = package
    except ImportError:
        print("the grad-cam package is not installed")
    clock = "CPU time" if options.device == "cpu" else "wall clock"
    print(f"{options.images} images of {options.size} px, {options.findings} findings, {options.device}, {clock}")
    for architecture in options.architectures:
        entry = registry.find("architectures", architecture, "--architectures")
        network = build(entry.use, entry.options, options.findings).to(options.device)
        draw = torch.Generator().manual_seed(0)
        x_NCHW = torch.randn(options.images, 3, options.size, options.size, generator=draw).to(options.device)
        ours = heat_maps(network, x_NCHW).heat_NKhw.cpu()
        for name in ("hooks, per finding", "grad-cam package"):
            if name in implementations:
                theirs = implementations[name](network, x_NCHW)
                assert isinstance(theirs, Tensor)
                difference = float((theirs.cpu() - ours).abs().max() / ours.abs().max())
                print(f"{architecture}: largest relative difference from {name} {difference:.1e}")
                if difference > 1e-5:
                    raise SystemExit("the heat maps of the implementations differ by more than 1e-5")
        seconds_of = dict.fromkeys(implementations, float("inf"))
        for _ in range(options.rounds):
            for name, compute in implementations.items():
                seconds_of[name] = min(seconds_of[name], seconds(compute, network, x_NCHW))
        for name, fastest in seconds_of.items():
            print(
                f"{architecture:<18} {name:<22} {1e3 * fastest:9.1f} ms  {fastest / seconds_of['prediction']:6.2f} x a prediction"
            )


if __name__ == "__main__":
    main()
