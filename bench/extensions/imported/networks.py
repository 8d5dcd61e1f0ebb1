"""Give an imported network the interface that `predict` needs: checked outputs, findings in the order of the grid.

Legend: N images, C input channels, O outputs of the network, K findings of the grid, D features.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.config.registry import Entry
from bench.extensions.imported.declaration import Input, ModelDeclaration
from bench.extensions.imported.onnx_model import OnnxNetwork
from bench.inputs.normalize import Normalizer
from bench.models.network import check_timm, timm_model
from bench.models.predict import weights_sha256
from bench.results.prediction_files import LEAST, MOST
from bench.store.file_integrity import file_sha256
from harmonize.errors import ConfigError, RegistryError, SetupError


class ImportedNetwork(nn.Module):
    """An imported network that returns the findings of the grid. A finding that the network does not predict has logit 0.

    Raises ConfigError for outputs that do not match the declaration: a wrong number, values that are not finite, probabilities
    outside [0, 1].
    """

    def __init__(
        self, network: nn.Module, declared: ModelDeclaration, findings: Sequence[str], batch: int | None
    ) -> None:
        super().__init__()
        assert declared.input is not None
        # self.batch: the only batch size that the network accepts, None if the network accepts any
        self.network, self.declared, self.batch = (network, declared, batch)
        self.in_channels = declared.input.channels
        self.columns = [declared.output_index.get(finding) for finding in findings]
        # A network with these two methods of timm's interface gives its features, the input of the last layer.
        outputs_and_features = ("forward_features", "forward_head")
        self.has_features = declared.kind == "timm" or all(hasattr(network, name) for name in outputs_and_features)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logit_NK of the grid's findings."""
        return self.findings(self._outputs(x_NCHW))

    def outputs_and_features(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND. D is 0 if the network does not expose features."""
        if not self.has_features:
            return self._outputs(x_NCHW), x_NCHW.new_zeros((len(x_NCHW), 0))
        network: Any = self.network
        maps = network.forward_features(x_NCHW)
        features: Tensor = network.forward_head(maps, pre_logits=True)
        return self._checked(network.forward_head(maps), len(x_NCHW)), features.flatten(1)

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of the findings, in the order of the grid."""
        chosen = [k for k in self.columns if k is not None]
        value_NX = output_NO[:, chosen].double()
        if self.declared.outputs.kind == "probability":
            value_NX = torch.logit(value_NX.clamp(LEAST, MOST))
        logit_NK = value_NX.new_zeros((len(output_NO), len(self.columns)))
        logit_NK[:, [i for i, k in enumerate(self.columns) if k is not None]] = value_NX
        return logit_NK.float()

    def auxiliary(self, output_NO: Tensor) -> Tensor:
        """Return [N, 0]: an imported network has no auxiliary heads."""
        return output_NO[:, :0]

    def _outputs(self, x_NCHW: Tensor) -> Tensor:
        """Return output_NO. A network with a fixed batch size gets zeros as the missing images of the last chunk."""
        outputs = []
        size = self.batch or len(x_NCHW)
        for chunk in torch.split(x_NCHW, size):
            missing = size - len(chunk)
            padded = torch.cat([chunk, chunk.new_zeros((missing, *chunk.shape[1:]))]) if missing else chunk
            outputs.append(self._checked(self.network(padded), size)[: len(chunk)])
        return torch.cat(outputs)

    def _checked(self, output: Any, num: int) -> Tensor:
        """Return the outputs of the network unchanged. Raises ConfigError if they do not match the declaration."""
        where, names = f"{self.declared.where}: outputs", self.declared.outputs.names
        if not isinstance(output, Tensor) or output.dim() != 2 or len(output) != num:
            actual = f"a tensor of shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            fix = "wrap it in a function that returns one row per image and one column per finding"
            raise ConfigError(f"the network returns {actual}, not a tensor of shape [{num}, {len(names)}]", where, fix)
        if output.shape[1] != len(names):
            what = f"the network has {output.shape[1]} outputs, but `names` has {len(names)}"
            fix = "name every output, in the order of the network; `drop: [NAME]` ignores an output"
            raise ConfigError(what, f"{where}.names", fix)
        if not torch.isfinite(output).all():
            bad = [names[k] or f"output {k}" for k in (~torch.isfinite(output)).any(0).nonzero().flatten().tolist()]
            fix = "check preprocessing.mean, std and range: the input must be scaled as in its training"
            raise ConfigError(f"outputs that are not finite: {', '.join(bad)}", where, fix)
        if self.declared.outputs.kind == "probability" and ((output < 0) | (output > 1)).any():
            what = f"outputs from {float(output.min()):.3g} to {float(output.max()):.3g} are not probabilities"
            raise ConfigError(what, f"{where}.kind", "write `kind: logit` if the outputs are taken before the sigmoid")
        return output


def declared_normalization(given: Input) -> Normalizer:
    """Return the intensity normalization that model.yaml declares. The padding that makes an image square is black."""
    return Normalizer([*given.ops, "imagenet"], given.mean, given.std, given.channels, given.input)


def open_model(declared: ModelDeclaration, findings: Sequence[str], device: torch.device) -> ImportedNetwork:
    """Return the network of a declaration on the device, after a test with black images.

    Raises SetupError for unreadable files or missing packages, ConfigError for a network whose inputs or outputs do not
    match the declaration.
    """
    assert declared.input is not None
    network = _OPENED[declared.kind](declared).to(device)
    tensors = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    if bad := [name for name, value in tensors.items() if not torch.isfinite(value).all()]:
        what = f"{len(bad)} of {len(tensors)} tensors of weights have NaN or infinite values, first {bad[0]}"
        raise SetupError(what, f"{declared.where}: model", "give the weights of an epoch before the training diverged")
    size = declared.input.input or declared.input.size
    shape = (declared.input.channels, size, size)
    problem: Exception | None = None
    for batch in dict.fromkeys((None, getattr(network, "batch", None) or 1)):
        imported = ImportedNetwork(network, declared, findings, batch).to(device).eval()
        try:
            with torch.inference_mode():
                imported.outputs_and_features(torch.zeros((3, *shape), device=device))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  (any error of an imported network means that it does not take these images)
            problem = error
            continue
        return imported
    message = " ".join(str(problem).split())[:300]
    what = f"the network does not take {shape[0]} x {size} x {size} images: {type(problem).__name__}: {message}"
    fix = "correct size, input and channels to those of its training"
    raise ConfigError(what, f"{declared.where}: preprocessing", fix)


def sha256_of(declared: ModelDeclaration, network: ImportedNetwork | None = None) -> str:
    """Return the hash of the model: of the weights of a torch module, else of the content of all files."""
    if network is not None and declared.kind in ("timm", "function"):
        return weights_sha256(network.network)
    digest = hashlib.sha256()
    for name, path in sorted(declared.files.items()):
        digest.update(name.encode() + b"\0")
        for file in [path, *(OnnxNetwork.external_files(path) if declared.kind == "onnx" else [])]:
            digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def _timm(declared: ModelDeclaration) -> nn.Module:
    given, where = declared.input, f"{declared.where}: model"
    assert given is not None
    options = {"name": declared.target, **declared.options}
    try:
        check_timm(options, given.channels, given.input or given.size, where)
        network = timm_model(num_outputs=len(declared.outputs.names), in_channels=given.channels, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        fix = "correct `timm:` and its `with:` options"
        raise ConfigError(f"timm cannot build the network: {error}", where, fix) from error
    return _with_weights(network, declared)


def _function(declared: ModelDeclaration) -> nn.Module:
    where = f"{declared.where}: model.function"
    try:
        factory: Callable[..., Any] = Entry("architectures", declared.target, declared.target).load()
    except RegistryError as error:
        raise ConfigError(error.what, where, "correct the name, or install its package") from error
    try:
        network = factory(**declared.options)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise ConfigError(f"{declared.target} fails: {error}", where, "correct its `with:` options") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{declared.target} returns {type(network).__name__}", where, "return a torch.nn.Module")
    return _with_weights(network, declared) if declared.files else network


# starts that DataParallel and torch.compile put before the keys of a network that they wrap
_WRAPPERS = ("module.", "_orig_mod.", "module.")


def _with_weights(network: nn.Module, declared: ModelDeclaration) -> nn.Module:
    """Return a network with the weights of its safetensors file; all keys and shapes must match.

    If all keys begin with the name of a wrapper (DataParallel: `module.`, torch.compile: `_orig_mod.`), this start is
    removed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path, where = declared.files["weights"], f"{declared.where}: model.weights"
    if path.suffix != ".safetensors":
        fix = "convert it once to .safetensors, on an isolated machine: loading a pickle runs its code"
        raise SetupError(f"weights are read from .safetensors files only, not {path.suffix!r}", where, fix)
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SetupError(f"cannot read the weights: {error}", where, "give a readable safetensors file") from error
    own = network.state_dict()
    for prefix in _WRAPPERS:
        if all(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        problems = {
            "missing": [key for key in own if key not in state],
            "unexpected": [key for key in state if key not in own],
            "of another shape": [key for key in own if key in state and state[key].shape != own[key].shape],
        }
        texts = [f"{len(keys)} {what}: {', '.join(keys[:3])}" for what, keys in problems.items() if keys]
        fix = "its keys must be those of the network; the last layer must have one output per name in outputs.names"
        raise SetupError(f"the weights do not fit the network ({'; '.join(texts) or error})", where, fix) from error
    return network


def _onnx(declared: ModelDeclaration) -> nn.Module:
    assert declared.input is not None
    size = declared.input.input or declared.input.size
    return OnnxNetwork(declared.files["file"], (declared.input.channels, size, size), f"{declared.where}: model.onnx")


_OPENED: dict[str, Callable[[ModelDeclaration], nn.Module]] = {
    "timm": _timm,
    "function": _function,
    "onnx": _onnx,
}
