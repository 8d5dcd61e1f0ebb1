"""A network from elsewhere behind the face that `predict` knows: its outputs checked, its findings picked and put in order.

Legend: N images, C input channels, O outputs of the network, K findings of the grid, D features.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.config.imported_model import Declared, Input
from bench.config.registry import Entry
from bench.inputs.normalize import Normalizer
from bench.models.network import check_timm, timm_model
from bench.models.predict import weights_sha256
from bench.runs.onnx_model import OnnxNetwork
from bench.store.file_integrity import file_sha256
from harmonize.errors import ConfigError, SetupError

LEAST, MOST = 1e-38, 1 - 2**-53  # probabilities beyond them become these: a logit is finite


class ImportedNetwork(nn.Module):
    """A network of which nothing is known but what was declared; asked for an image, it gives the grid's findings.

    Raises ConfigError for outputs that are not what was declared: their number, numbers that are not finite, probabilities
    outside of [0, 1]. Findings that it lacks are 0.
    """

    def __init__(self, network: nn.Module, declared: Declared, findings: Sequence[str], batch: int | None) -> None:
        super().__init__()
        assert declared.input is not None
        self.network, self.declared, self.batch = network, declared, batch  # batch: the only one it takes; None = any
        self.in_channels = declared.input.channels
        self.at = [declared.output_index.get(finding) for finding in findings]
        outputs_and_features = (
            "forward_features",
            "forward_head",
        )  # timm's face: features are what the last layer sees
        self.has_features = declared.kind == "timm" or all(hasattr(network, name) for name in outputs_and_features)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logit_NK of the grid's findings."""
        return self.findings(self._outputs(x_NCHW))

    def outputs_and_features(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND, with D = 0 where the network has no features that could be asked for."""
        if not self.has_features:
            return self._outputs(x_NCHW), x_NCHW.new_zeros((len(x_NCHW), 0))
        network: Any = self.network
        maps = network.forward_features(x_NCHW)
        features: Tensor = network.forward_head(maps, pre_logits=True)
        return self._checked(network.forward_head(maps), len(x_NCHW)), features.flatten(1)

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of outputs: those of the findings, in the grid's order, as logits."""
        chosen = [k for k in self.at if k is not None]
        value_NX = output_NO[:, chosen].double()
        if self.declared.outputs.kind == "probability":
            value_NX = torch.logit(value_NX.clamp(LEAST, MOST))
        logit_NK = value_NX.new_zeros((len(output_NO), len(self.at)))
        logit_NK[:, [i for i, k in enumerate(self.at) if k is not None]] = value_NX
        return logit_NK.float()

    def auxiliary(self, output_NO: Tensor) -> Tensor:
        """Return no further heads."""
        return output_NO[:, :0]

    def _outputs(self, x_NCHW: Tensor) -> Tensor:
        num, whole = len(x_NCHW), []
        size = self.batch or num
        for part in torch.split(x_NCHW, size):
            short = size - len(part)
            padded = torch.cat([part, part.new_zeros((short, *part.shape[1:]))]) if short else part
            whole.append(self._checked(self.network(padded), size)[: len(part)])
        return torch.cat(whole)

    def _checked(self, output: Any, num: int) -> Tensor:
        """Return the outputs when they are what was declared."""
        where, names = f"{self.declared.where}: outputs", self.declared.outputs.names
        if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != num:
            said = f"a tensor of shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            fix = "wrap it in a function that returns one row per image and one column per finding"
            raise ConfigError(f"the network gives {said}, not [{num}, {len(names)}]", where, fix)
        if output.shape[1] != len(names):
            what = f"the network has {output.shape[1]} outputs, {len(names)} are named"
            raise ConfigError(
                what, f"{where}.names", "name every output in its order; `drop` leaves out what is not wanted"
            )
        if not torch.isfinite(output).all():
            bad = [names[k] or f"output {k}" for k in (~torch.isfinite(output)).any(0).nonzero().flatten().tolist()]
            fix = "is the input scaled as in its training? Look at preprocessing.mean, std and range"
            raise ConfigError(f"outputs that are no finite numbers: {', '.join(bad)}", where, fix)
        if self.declared.outputs.kind == "probability" and ((output < 0) | (output > 1)).any():
            what = f"outputs from {float(output.min()):.3g} to {float(output.max()):.3g} are no probabilities"
            raise ConfigError(what, f"{where}.kind", "say `kind: logit` if they are taken before the sigmoid")
        return output


def declared_normalization(given: Input) -> Normalizer:
    """Return the second half of the declared preprocessing; the padding of a letterbox is black, as everywhere else."""
    return Normalizer([*given.ops, "imagenet"], given.mean, given.std, given.channels, given.input)


def open_model(declared: Declared, findings: Sequence[str], device: torch.device, trust: bool) -> ImportedNetwork:
    """Return the network of a declaration on the device, asked once with empty images.

    Raises SetupError for files that cannot be read or packages that are absent, ConfigError for a network that is not what was
    declared, or does not take what was declared.
    """
    assert declared.input is not None
    network = _OPENED[declared.kind](declared, trust).to(device)
    size = declared.input.input or declared.input.size
    shape = (declared.input.channels, size, size)
    problem: Exception | None = None
    for batch in dict.fromkeys((None, getattr(network, "batch", None) or 1)):
        asked = ImportedNetwork(network, declared, findings, batch).to(device).eval()
        try:
            with torch.inference_mode():
                asked.outputs_and_features(torch.zeros((3, *shape), device=device))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a stranger's network raises means that it does not take this)
            problem = error
            continue
        return asked
    said = " ".join(str(problem).split())[:300]
    what = f"the network does not take {shape[0]} x {size} x {size} images: {type(problem).__name__}: {said}"
    fix = "correct size, input and channels to what it was made for"
    raise ConfigError(what, f"{declared.where}: preprocessing", fix)


def sha256_of(declared: Declared, network: ImportedNetwork | None = None) -> str:
    """Return what the predictions come from, as a hash: the weights of a torch module, else the content of all files."""
    if network is not None and declared.kind in ("timm", "function"):
        return weights_sha256(network.network)
    digest = hashlib.sha256()
    for name, path in sorted(declared.files.items()):
        digest.update(name.encode() + b"\0")
        for part in [path, *(OnnxNetwork.beside(path) if declared.kind == "onnx" else [])]:
            digest.update(bytes.fromhex(file_sha256(part)))
    return digest.hexdigest()


def _timm(declared: Declared, trust: bool) -> nn.Module:  # noqa: ARG001
    given, where = declared.input, f"{declared.where}: model"
    assert given is not None
    options = {"name": declared.target, **declared.options}
    try:
        check_timm(options, given.channels, given.input or given.size, where)
        network = timm_model(num_outputs=len(declared.outputs.names), in_channels=given.channels, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"timm cannot build it: {error}", where, "correct `timm:` and its `with:` options") from error
    return _with_weights(network, declared)


def _function(declared: Declared, trust: bool) -> nn.Module:  # noqa: ARG001
    where = f"{declared.where}: model.function"
    factory: Callable[..., Any] = Entry("architectures", declared.target, declared.target).load()
    try:
        network = factory(**declared.options)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"{declared.target} fails: {error}", where, "correct its `with:` options") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{declared.target} returns {type(network).__name__}", where, "return a torch.nn.Module")
    return _with_weights(network, declared) if declared.files else network


def _with_weights(network: nn.Module, declared: Declared) -> nn.Module:
    """Return a network with the weights of its safetensors file: every key must be there and fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, where = declared.files["weights"], f"{declared.where}: model.weights"
    if path.suffix != ".safetensors":
        fix = "convert it once to .safetensors, on a machine you can lose: loading a pickle runs its code"
        raise SetupError(f"weights are read from .safetensors files only, not {path.suffix!r}", where, fix)
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise SetupError(f"cannot read the weights: {error}", where, "give a readable safetensors file") from error
    except RuntimeError as error:
        said = " ".join(str(error).split())[:500]
        fix = "its keys must be those of the network, and the last layer as wide as outputs.names"
        raise SetupError(f"the weights do not fit: {said}", where, fix) from error
    return network


def _export(declared: Declared, trust: bool) -> nn.Module:
    path, where = declared.files["file"], f"{declared.where}: model.export"
    if not trust:
        what = "opening a torch.export file can run code that is hidden in it"
        fix = "say --trust when you made the file or know who did; else ask for an ONNX file, or for safetensors"
        raise SetupError(what, where, fix)
    try:
        exported = torch.export.load(path)
    except Exception as error:  # torch raises what its parsers raise
        raise SetupError(
            f"torch cannot open it: {error}", where, "export it again with this version of torch"
        ) from error
    network: nn.Module = exported.module()
    network.train = lambda _=True: network  # type: ignore[assignment, method-assign]  # it has one mode, and refuses to be asked
    given = (exported.example_inputs or ((), {}))[0]
    network.batch = int(given[0].shape[0]) if given and isinstance(given[0], Tensor) else 1  # type: ignore[assignment]
    return network


def _onnx(declared: Declared, trust: bool) -> nn.Module:  # noqa: ARG001
    assert declared.input is not None
    size = declared.input.input or declared.input.size
    return OnnxNetwork(declared.files["file"], (declared.input.channels, size, size), f"{declared.where}: model.onnx")


_OPENED: dict[str, Callable[[Declared, bool], nn.Module]] = {
    "timm": _timm, "function": _function, "export": _export, "onnx": _onnx,
}  # fmt: skip
