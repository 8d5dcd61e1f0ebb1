"""Measure other ways to compute a frozen network on a CPU: speed, and how far their logits and AUROCs are from those of PyTorch.

    pip install onnxscript onnxruntime openvino                          # a missing package leaves out its rows
    OMP_NUM_THREADS=1 python benchmarks/backends.py resnet18 densenet121 # architectures of timm with random weights: speed
    OMP_NUM_THREADS=1 python benchmarks/backends.py --store runs         # trained runs of a store: differences, too

Each row has the CPU time of PyTorch in float32 divided by that of the backend, for 64 images of 224 x 224 pixels or the images of
a cohort, in one thread. "returned" is PyTorch in float32 in a process that returns freed memory to the system, which every
process did before `keep_freed_memory`. A shift is a difference of a logit, in standard deviations of the finding's logits.
"""

import argparse
import contextlib
import copy
import io
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.models.network import Network, build
from bench.planning.manifest import planned
from bench.runs.stored_run import StoredRun, load
from bench.scoring.metrics import auroc
from bench.store.store import Store, read_table, table_facts
from bench.system.devices import keep_freed_memory
from harmonize.cache.cache import finished_cache
from harmonize.errors import StoreError

BATCH = 64
Pass = Callable[[Tensor], NDArray[np.float32]]


class Outputs(nn.Module):
    """The network as exporters need it: a module that returns the logits of the findings."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.network.findings(self.network.outputs(x_NCHW))


def float32(network: Network) -> Pass:
    return lambda x_NCHW: network(x_NCHW).numpy()


def bfloat16(network: Network) -> Pass:
    def run(x_NCHW: Tensor) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16):
            return network(x_NCHW).float().numpy()

    return run


def onnxruntime(network: Network, x_NCHW: Tensor) -> Pass:
    import onnxruntime as runtime
    import onnxscript  # noqa: F401  (torch's exporter needs it)

    file = io.BytesIO()
    images = {0: torch.export.Dim("images")}
    torch.onnx.export(exported(network), (x_NCHW,), dynamo=True, dynamic_shapes=(images,), verbose=False).save(file)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x_NCHW: session.run(None, {name: x_NCHW.contiguous().numpy()})[0]


def openvino(network: Network, x_NCHW: Tensor, precision: str) -> Pass:
    sys.modules["openvino_telemetry"] = None  # with this package, OpenVINO reports its use to its maker
    import openvino as ov

    model = ov.convert_model(exported(network), example_input=x_NCHW)
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda x_NCHW: np.array(request.infer([x_NCHW.contiguous().numpy()])[compiled.outputs[0]])


def exported(network: Network) -> nn.Module:
    return Outputs(copy.deepcopy(network).to(memory_format=torch.contiguous_format)).eval()


def backends(network: Network, example: Tensor) -> Iterator[tuple[str, Pass]]:
    """Yield (name, pass over a batch) of every backend that is installed."""
    yield "bfloat16", bfloat16(network)
    example = example.contiguous()
    for name, made in (
        ("onnxruntime", lambda: onnxruntime(network, example)),
        ("openvino", lambda: openvino(network, example, "f32")),
        ("openvino bfloat16", lambda: openvino(network, example, "bf16")),
    ):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the exporters print what they do
                engine = made()
        except ImportError:
            continue
        yield name, engine


def logits(run: Pass, x_NCHW: Tensor) -> tuple[NDArray[np.float32], float]:
    """Return the logits of all images, and the CPU seconds of a second pass, because the first prepares an engine."""
    run(x_NCHW[:BATCH])
    start = process_time()
    result = np.concatenate([run(part) for part in torch.split(x_NCHW, BATCH)])
    return result, process_time() - start


def compare(title: str, network: Network, x_NCHW: Tensor, label_NK: NDArray[np.int8] | None) -> None:
    """Print a row for each backend of one network."""
    network = network.eval().to(memory_format=torch.channels_last)
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    expected, seconds = logits(float32(network), x_NCHW)
    print(f"{title}: {len(x_NCHW)} images, float32 takes {1e3 * seconds / len(x_NCHW):.1f} ms per image")
    spread = expected.std(0)
    for name, run in backends(network, x_NCHW[:2]):
        got, own = logits(run, x_NCHW)
        shift = np.abs(got - expected) / spread
        text = f"  {name:18s} {seconds / own:5.2f} x as fast"
        if label_NK is not None:
            text += f"; largest shift {shift.max():.3g}, root mean square {np.sqrt((shift**2).mean()):.2g}"
            text += f"; AUROC {macro_shift(got, expected, label_NK):+.4f}"
        print(text, flush=True)


def macro_shift(got: NDArray[np.float32], expected: NDArray[np.float32], label_NK: NDArray[np.int8]) -> float:
    """Return the difference of the macro AUROC."""
    shifts = []
    for k in range(label_NK.shape[1]):
        label = label_NK[:, k]
        known = (label == 0) | (label == 1)
        if len(np.unique(label[known])) == 2:
            shifts.append(auroc(label[known], got[known, k]) - auroc(label[known], expected[known, k]))
    return float(np.mean(shifts)) if shifts else np.nan


def images_of(store: Store, stored: StoredRun, cohort: str) -> tuple[Tensor, NDArray[np.int8]] | None:
    """Return the prepared images of a cohort that a run has predicted, and their labels; None without decoded images."""
    path = store.run_dir(stored.id) / "predictions" / f"{cohort}.parquet"
    cache = finished_cache(store.root / "cache", cohort, stored.geometry, table_facts(path).get("fingerprint", ""))
    if cache is None:
        return None
    ids = read_table(path)["image_id"].astype(str)
    manifest = planned(store, stored.id, None)[0]
    table = manifest.table(next(c for c in manifest.cohorts if c.name == cohort))
    table = table.set_index(table["image_id"].astype(str)).loc[ids]
    state_NK = table[list(stored.findings)].fillna(-3).to_numpy(np.int8)
    pixels = torch.from_numpy(np.asarray(cache.images[cache.rows(ids.tolist())]))
    prepared = torch.cat([stored.normalizer(part) for part in torch.split(pixels, BATCH)])
    return prepared, np.where(state_NK == -2, 0, state_NK)


def returned(name: str) -> None:
    """Print the time of float32 in this process, which returns freed memory."""
    network = random_network(name).eval().to(memory_format=torch.channels_last)
    x_NCHW = torch.rand(BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = logits(float32(network), x_NCHW)[1]
    print(f"  returned: float32 takes {1e3 * seconds / BATCH:.1f} ms per image")


def random_network(name: str) -> Network:
    return build("bench.models.network:timm_model", {"name": name}, 9, seed=1)


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*")
    parser.add_argument("--store", type=Path)
    parser.add_argument("--returned", action="store_true", help="only float32, without keeping freed memory")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.returned:
        for name in given.architectures:
            returned(name)
        return
    keep_freed_memory()
    with torch.inference_mode():
        for name in given.architectures:
            compare(name, random_network(name), torch.rand(BATCH, 3, 224, 224), None)
            subprocess.run([sys.executable, __file__, name, "--returned"], check=True)
        store = Store.open(given.store, create=False) if given.store else None
        for stored in trained(store) if store else ():
            for path in sorted((store.run_dir(stored.id) / "predictions").glob("*.parquet")):
                if found := images_of(store, stored, path.stem):
                    compare(f"{stored.title}, {path.stem}", stored.network, *found)


def trained(store: Store) -> Iterator[StoredRun]:
    """Yield the trained runs of a store."""
    for path in sorted(store.root.glob("*/*/DONE")):
        with contextlib.suppress(StoreError):
            stored = load(store, path.parent.name)
            if stored.trained is not None:
                yield stored


if __name__ == "__main__":
    main()
