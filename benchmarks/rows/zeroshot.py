"""B9: predictions of five checkpoints for one cohort, starting from image files, against five scripts that each decode every image.

A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms, peer
from benchmarks.radiographs import radiograph
from harmonize.cache.cache import open_cache
from harmonize.images.pixels import Geometry

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cohort(folder: Path, num: int) -> tuple[list[Path], NDArray[np.int8]]:
    """Write `num` radiographs, of which every second is brighter; return their paths and labels (1 for bright)."""
    paths, is_bright = [], np.arange(num) % 2
    for i in range(num):
        image = radiograph(i % 6).astype(np.float32)
        image = np.clip(image * (1.0 - 0.25 * i / num) + 50 * is_bright[i], 0, 255)
        path = folder / f"{i}.jpg"
        path.write_bytes(cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
        paths.append(path)
    return paths, is_bright.astype(np.int8)


def networks(folder: Path, paths: Sequence[Path], is_bright: NDArray[np.int8], num: int) -> list[torch.nn.Module]:
    """Return `num` random ResNet-18 networks; ridge regression fits the last layer to detect bright images."""
    from bench.inputs.normalize import Normalizer
    from bench.models.network import build

    table = pd.DataFrame({"image_id": [p.stem for p in paths], "path": [p.name for p in paths]})
    images = torch.from_numpy(np.array(open_cache("b9", folder, table, Geometry(SIDE), folder / "learnt").images))
    x_NCHW, target, fitted = Normalizer(["imagenet"], MEAN, STD)(images), torch.from_numpy(2.0 * is_bright - 1), []
    for seed in range(num):
        network = build("bench.models.network:timm_model", {"name": "resnet18"}, 1, seed=seed).eval()
        with torch.no_grad():
            feature = network.embed(x_NCHW).double()
            mean, spread = feature.mean(0), feature.std() + 1e-9
            z_ND = (feature - mean) / spread
            weight = torch.linalg.solve(z_ND.T @ z_ND + torch.eye(z_ND.shape[1]), z_ND.T @ target) / spread
            head: torch.nn.Linear = network.backbone.get_classifier()  # type: ignore[operator,assignment]
            head.weight.copy_(weight[None])
            head.bias.copy_(-(weight @ mean)[None])
        fitted.append(network)
    return fitted


def ours(folder: Path, paths: Sequence[Path], networks_to_test: Sequence[torch.nn.Module]) -> list[NDArray[np.float32]]:
    """Return the logits of each network: decode the images once, then predict with all networks in fp32."""
    from bench.inputs.batches import BatchReader
    from bench.inputs.normalize import Normalizer
    from bench.models.predict import PredictionRequest, predict_many

    # The cache folder is empty in every call, so that the time includes the decoding.
    with tempfile.TemporaryDirectory(dir=folder) as cache_folder:
        table = pd.DataFrame({"image_id": [p.stem for p in paths], "path": [p.name for p in paths]})
        cache = open_cache("b9", folder, table, Geometry(SIDE), Path(cache_folder))
        normalizer, cpu = Normalizer(["imagenet"], MEAN, STD), torch.device("cpu")
        reader, rows = BatchReader(cache.images, cpu), np.arange(len(paths))
        requests = [
            PredictionRequest(network.to(memory_format=torch.channels_last), normalizer) for network in networks_to_test
        ]  # type: ignore[arg-type]
        return [logit for logit, _ in predict_many(requests, reader, rows, cpu)]


def naive(paths: Sequence[Path], networks_to_test: Sequence[torch.nn.Module]) -> list[NDArray[np.float32]]:
    """Return the logits of each network: decode every image again for each network, with PIL and torchvision, 16 per batch."""
    from PIL import Image
    from torchvision import transforms

    scale = [transforms.Resize((SIDE, SIDE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    chain, logits_of_networks = transforms.Compose(scale), []
    for network in networks_to_test:
        logits = []
        for start in range(0, len(paths), 16):
            batch = torch.stack([chain(Image.open(path).convert("RGB")) for path in paths[start : start + 16]])
            with torch.inference_mode():
                logits.append(network.to(memory_format=torch.contiguous_format)(batch).numpy())
        logits_of_networks.append(np.concatenate(logits))
    return logits_of_networks


def five_checkpoints(quick: bool) -> Measured:
    """Return the time of five naive scripts divided by ours; the gate compares AUROCs and logits."""
    peer("PIL", "pillow")
    from sklearn.metrics import roc_auc_score

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, is_bright = cohort(folder, 16 if quick else 32)
        checkpoints = networks(folder, paths, is_bright, 2 if quick else 5)
        our_logits, peer_logits = ours(folder, paths, checkpoints), naive(paths, checkpoints)
        areas = [
            [roc_auc_score(is_bright, logit[:, 0]) for logit in logits_of_peer]
            for logits_of_peer in (our_logits, peer_logits)
        ]
        worst = float(np.abs(np.subtract(*areas)).max())
        logit_difference = max(
            float(np.abs(a - b).max() / b.std()) for a, b in zip(our_logits, peer_logits, strict=True)
        )
        text = (
            f"smallest AUROC (task: find bright images): {min(areas[0]):.3f}; largest differences from the peer: "
            f"{worst:.2g} in AUROC, {logit_difference:.2g} standard deviations in a logit"
        )
        gate = check(worst <= 1e-3 and logit_difference <= 0.25, text)
        implementations = {"ours": lambda: ours(folder, paths, checkpoints), "naive": lambda: naive(paths, checkpoints)}
        num_predictions = len(paths) * len(checkpoints)
        spent = interleaved(implementations, 2 if quick else 3, items=dict.fromkeys(implementations, num_predictions))
        pass_seconds = interleaved({"pass": lambda: ours_pass(checkpoints)}, 2, items={"pass": 32 * len(checkpoints)})[
            "pass"
        ]
    share = np.median(pass_seconds) / np.median(spent["ours"])
    note = (
        f"{len(paths)} JPEGs of 0.9 MB; time per image and checkpoint: peer {ms(spent['naive'])}, "
        f"ours {ms(spent['ours'])}; the forward pass takes {100 * share:.0f} % of our time"
    )
    return compared(spent["naive"], spent["ours"], gate, note)


def ours_pass(checkpoints: Sequence[torch.nn.Module]) -> None:
    """Pass 32 images through each network; this is the lower bound of the time, without any decoding."""
    x_NCHW = torch.zeros(32, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for network in checkpoints:
            network.to(memory_format=torch.channels_last)(x_NCHW)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "B9",
        "zero-shot test of 5 checkpoints on one cohort, ResNet-18, fp32",
        "5 scripts that each decode all images (PIL, torchvision)",
        ">= 6",
        five_checkpoints,
    ),
)
