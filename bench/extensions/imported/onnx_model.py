"""An ONNX file as a network; its graph is checked before it runs. The extra `onnx` must be installed.

Legend: N images, C channels, H height, W width, O outputs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harmonize.errors import ConfigError, SetupError

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(nn.Module):
    """A network with one input [N, C, H, W] and one output [N, O], computed by onnxruntime on the CPU.

    `batch` is the fixed batch size of the exported graph, None if the graph takes any. Raises SetupError without onnxruntime,
    for a damaged file, and for a file with weights outside its folder. Raises ConfigError if the graph has another
    number or shape of inputs or outputs.
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
        except Exception as error:  # onnxruntime raises error classes of its own
            raise SetupError(f"onnxruntime cannot open the file: {error}", where, "export it again") from error
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
    def external_files(path: Path) -> list[Path]:
        """Return the files with external weights of an ONNX file, sorted."""
        onnx, _ = _packages(str(path))
        model = onnx.load(path, load_external_data=False)
        return sorted({path.parent / location for location in _locations(model)})


def _packages(where: str) -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        fix = "pip install 'unseen-cxr[onnx]'"
        raise SetupError(f"a package for ONNX files is not installed: {error.name}", where, fix) from error
    return onnx, onnxruntime


def _checked(onnx: Any, path: Path, where: str) -> int:
    """Check an ONNX file; return its number of parameters.

    Raises SetupError for a file that is not ONNX, and for missing weights. Also raises SetupError for weights outside the
    folder of the file, because an ONNX file with such weights could read any file of the machine.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises error classes of its own
        raise SetupError(f"this is not an ONNX file: {error}", where, "export it again") from error
    folder = path.parent.resolve()
    for location in _locations(model):
        target = path.parent / location
        if Path(location).is_absolute() or not target.resolve().is_relative_to(folder):
            fix = "export it with its weights inside, or in a file in the same folder"
            raise SetupError(f"the ONNX file refers to weights outside its folder: {location!r}", where, fix)
        if not target.is_file():
            fix = "put that file into the folder of the ONNX file"
            raise SetupError(f"the weights of the ONNX file are missing: {location!r}", where, fix)
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)


def _locations(model: Any) -> Iterator[str]:
    """Yield the location of every external tensor in the model, its functions and its subgraphs."""
    training = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    graphs = [model.graph, *training]
    nodes = [node for function in model.functions for node in function.node]
    tensors = []
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            tensors += graph.initializer
            tensors += [t for sparse in graph.sparse_initializer for t in (sparse.values, sparse.indices)]
            continue
        for attribute in nodes.pop().attribute:
            tensors += [attribute.t, *attribute.tensors]
            tensors += [p for s in (attribute.sparse_tensor, *attribute.sparse_tensors) for p in (s.values, s.indices)]
            graphs += [inner for inner in (attribute.g, *attribute.graphs) if inner.node or inner.initializer]
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _input(session: Any, shape: tuple[int, int, int], where: str) -> tuple[Any, int | None]:
    """Return the input of the graph, and the only batch size that it accepts (None if it accepts any).

    Raises ConfigError if the graph does not take images of `shape` (channels, height, width).
    """
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
        actual = "; ".join(f"{tensor.name} {tensor.type} {tensor.shape}" for tensor in inputs)
        raise ConfigError(f"the graph takes {actual}", where, "export it with one input [N, C, H, W] of floats")
    expected = inputs[0].shape
    for axis, given, name in zip(expected[1:], shape, ("channels", "size", "size"), strict=True):
        if isinstance(axis, int) and axis != given:
            what = f"the network takes {expected[1:]} (channels, height, width), the preprocessing gives {list(shape)}"
            raise ConfigError(what, f"{where.partition(':')[0]}: preprocessing.{name}", f"write {name}: {axis}")
    return inputs[0], expected[0] if isinstance(expected[0], int) else None
