"""An ONNX file as a network: its graph is looked at before anything runs. Needs the extra `onnx`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harmonize.errors import ConfigError, SetupError

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(nn.Module):
    """One input [N, C, H, W], one output [N, O], computed by onnxruntime on the CPU, in one thread order.

    `batch` is the batch that the file was exported with, None when it takes any. Raises SetupError without onnxruntime or
    for a damaged file or one that points outside its folder, ConfigError for other inputs or outputs.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], where: str) -> None:
        super().__init__()
        onnx, runtime = _packages(where)
        self.num_params = _checked(onnx, path, where)
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = max(1, torch.get_num_threads())
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes are generated; whatever it raises means "not this file"
            raise SetupError(f"onnxruntime cannot open it: {error}", where, "export it again") from error
        self.takes, self.batch = _input(self.session, shape, where)
        if len(self.session.get_outputs()) != 1:
            names = ", ".join(out.name for out in self.session.get_outputs())
            fix = "export it with one output, a row per image and a column per finding"
            raise ConfigError(f"the graph has several outputs: {names}", where, fix)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return output_NO on the device of the images."""
        x = x_NCHW.detach().cpu().contiguous().numpy().astype(_TYPES[self.takes.type], copy=False)
        (output,) = self.session.run(None, {self.takes.name: x})
        return torch.from_numpy(np.ascontiguousarray(output)).to(x_NCHW.device)

    @staticmethod
    def beside(path: Path) -> list[Path]:
        """Return the files with the weights that an ONNX file names, sorted."""
        onnx, _ = _packages(str(path))
        model = onnx.load(path, load_external_data=False)
        return sorted({path.parent / place for place in _places(model)})


def _packages(where: str) -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        fix = "pip install 'unseen-cxr[onnx]'"
        raise SetupError(f"an ONNX file needs a package that is absent: {error.name}", where, fix) from error
    return onnx, onnxruntime


def _checked(onnx: Any, path: Path, where: str) -> int:
    """Return how many numbers the weights hold.

    Raises SetupError for a file that is no ONNX, and for one that keeps weights outside of its own folder: reading it would
    read whatever file it names.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own classes
        raise SetupError(f"this is no ONNX file: {error}", where, "export it again") from error
    folder = path.parent.resolve()
    for place in _places(model):
        target = path.parent / place
        if Path(place).is_absolute() or not target.resolve().is_relative_to(folder):
            fix = "export it with its weights inside, or in a file beside it"
            raise SetupError(f"it keeps weights outside of its folder: {place!r}", where, fix)
        if not target.is_file():
            raise SetupError(f"its weights are absent: {place!r}", where, "put that file beside the ONNX file")
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)


def _places(model: Any) -> Iterator[str]:
    """Yield where the tensors that lie outside of the file are said to lie, wherever in it they are named."""
    training = [graph for each in model.training_info for graph in (each.initialization, each.algorithm)]
    graphs, nodes = [model.graph, *training], [node for function in model.functions for node in function.node]
    tensors = []
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            tensors += graph.initializer
            tensors += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
            continue
        for attribute in nodes.pop().attribute:
            tensors += [attribute.t, *attribute.tensors]
            tensors += [p for s in (attribute.sparse_tensor, *attribute.sparse_tensors) for p in (s.values, s.indices)]
            graphs += [inner for inner in (attribute.g, *attribute.graphs) if inner.node or inner.initializer]
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _input(session: Any, shape: tuple[int, int, int], where: str) -> tuple[Any, int | None]:
    """Return the input and the batch that it insists on; ConfigError when it is not made for images of this shape."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        said = "; ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise ConfigError(f"the graph takes {said}", where, "export it with one input [N, C, H, W] of floats")
    asked = inputs[0].shape
    for axis, given, name in zip(asked[1:], shape, ("channels", "size", "size"), strict=True):
        if isinstance(axis, int) and axis != given:
            what = f"the network takes {asked[1:]} (channels, height, width), the preprocessing gives {list(shape)}"
            raise ConfigError(what, f"{where.partition(':')[0]}: preprocessing.{name}", f"say {name}: {axis}")
    return inputs[0], asked[0] if isinstance(asked[0], int) else None
