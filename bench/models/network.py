"""One interface for networks of timm and of this project: logits for training, features for shortcut analyses.

N images, C input channels, H and W pixels, O outputs, K findings, D features. S outputs per finding: 1, or 3 (absent,
uncertain, present). The first K x S outputs belong to the findings, the others to auxiliary heads.

Functions import timm themselves: the import takes two CPU seconds, and a network of this project does not need it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.hub import get_dir, load_state_dict_from_url

from bench.config.registry import Entry
from bench.models.output_layers import output_layers
from bench.system.hub_client import download
from harmonize.errors import ConfigError, SetupError

Triple = tuple[float, float, float]


# Standard deviation of an untrained output, divided by the root mean square of the features. timm's own initialization gives
# an EfficientNet with nine outputs a standard deviation of 2 to 4, and a RegNetY 0.1. So the EfficientNet starts at a higher
# loss, and its large random gradients damage pretrained features. With 0 or 0.1, networks without pretraining learn more slowly.
OUTPUT_STD = 0.5

_FUSING = ("fuse", "reparameterize", "switch_to_deploy")  # methods that timm's reparameterize_model looks for


class Network(nn.Module):
    """A backbone with the methods `forward_features` and `forward_head(maps, pre_logits)`, and the scale of its input.

    The scale is `mean` and `std` of the pretraining images for each RGB channel, in [0, 1]. `num_findings`: the number
    K of findings; None if every output is a finding. `states`: the number S of outputs per finding.
    """

    def __init__(
        self,
        backbone: nn.Module,
        mean: Triple,
        std: Triple,
        in_channels: int,
        num_findings: int | None = None,
        states: int = 1,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.mean, self.std, self.in_channels = mean, std, in_channels
        self.num_findings, self.states = num_findings, states

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logit_NK of the findings."""
        return self.findings(self.outputs(x_NCHW))

    def outputs(self, x_NCHW: Tensor) -> Tensor:
        """Return output_NO: all outputs of the last linear layer."""
        output_NO: Tensor = self.backbone(x_NCHW)
        return output_NO

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of the findings. With three outputs per finding, the logit is present minus absent."""
        if self.num_findings is None:
            return output_NO
        return finding_logits(output_NO[:, : self.num_findings * self.states], self.states)

    def auxiliary(self, output_NO: Tensor) -> Tensor:
        """Return the logits of the auxiliary heads: one row for each image, one column for each head."""
        return output_NO[:, output_NO.shape[1] if self.num_findings is None else self.num_findings * self.states :]

    def embed(self, x_NCHW: Tensor) -> Tensor:
        """Return the penultimate features, feature_ND: the input of the last linear layer."""
        maps = self.backbone.forward_features(x_NCHW)  # type: ignore[operator]
        return self._features(maps)

    def outputs_and_features(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND of one forward pass.

        In evaluation mode, they equal the results of `outputs` and `embed`, except that a block of autocast does not change
        the precision of the last layers: in bf16, many images would have the same logit.
        """
        maps: Any = self.backbone.forward_features(x_NCHW)  # type: ignore[operator]
        with torch.autocast(x_NCHW.device.type, enabled=False):
            maps = maps.float() if isinstance(maps, Tensor) else [of_branch.float() for of_branch in maps]
            output_NO: Tensor = self.backbone.forward_head(maps)  # type: ignore[operator]
            return output_NO, self._features(maps)

    def set_biases(self, bias_X: Tensor) -> None:
        """Set the biases of the first X outputs. Layers without biases, or with fewer outputs, stay as they are."""
        with torch.no_grad():
            for layer in _linear(output_layers(self)):
                if layer.bias is not None and len(layer.bias) >= len(bias_X):
                    layer.bias[: len(bias_X)] = bias_X.to(layer.bias)

    def deployed(self) -> "Network":
        """Return the network in its deployed form: parallel branches and batch norms folded into plain convolutions.

        In evaluation mode the folded copy computes the same function, up to rounding. A network that timm cannot
        reparameterize is returned unchanged.
        """
        if not any(hasattr(module, name) for module in self.backbone.modules() for name in _FUSING):
            return self
        from timm.utils.model import reparameterize_model

        return cast("Network", reparameterize_model(self).eval())

    def _features(self, maps: Tensor) -> Tensor:
        feature: Tensor = self.backbone.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        return feature.flatten(1)  # DPN's last layer is a 1x1 convolution


def build(
    use: str | Callable[..., nn.Module],
    options: Mapping[str, Any],
    num_outputs: int,
    in_channels: int = 3,
    weights: Path | Literal["hub"] | None = None,
    seed: int = 0,
    num_findings: int | None = None,
    states: int = 1,
    keys: Mapping[str, str | None] | None = None,
) -> Network:
    """Return the network of a registry entry, on the CPU; the same seed gives the same weights.

    `weights` is None for random weights, a safetensors file, or "hub" to download the file of the ImageNet model. With
    `keys` None, the file must be from timm's ImageNet model. Otherwise, the file may be of any origin, and `keys`
    maps the starts of its parameter names to names of the network (`_load_mapped`). The output layer is always random
    (see OUTPUT_STD) and does not depend on `weights`. The global random state is not changed. Raises ConfigError for
    unknown options, SetupError for weights that are missing or do not fit.
    """
    factory = Entry("architectures", use, use).load() if isinstance(use, str) else use
    where = str(options.get("name", getattr(factory, "__name__", use)))
    try:
        with seeded(seed):
            backbone = factory(num_outputs=num_outputs, in_channels=in_channels, **options)
            _initialize(output_layers(backbone))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"cannot build the architecture: {error}", where, "correct its `with:` options") from error
    if keys is not None and isinstance(weights, Path):
        _load_mapped(_read(weights), str(weights), backbone, in_channels, keys)
    elif weights is not None:
        if factory is not timm_model:
            raise SetupError("the architecture has no pretrained weights", where, "train it with `weights: none`")
        tensors, source = _download(backbone, where) if weights == "hub" else (_read(weights), str(weights))
        _load_pretrained(tensors, source, backbone, in_channels, options)
    scale = getattr(backbone, "pretrained_cfg", {})
    mean, std = (tuple(scale.get(key, default)) for key, default in _IMAGENET.items())
    return Network(backbone, mean, std, in_channels, num_findings, states)


def _initialize(layers: Iterable[nn.Module]) -> None:
    """Draw the weights of linear output layers from a normal distribution with standard deviation OUTPUT_STD / sqrt(features).

    Biases become 0; training then sets the biases of the findings (`Network.set_biases`). The division by the square root makes
    the spread of the outputs independent of the number of features.
    Source: LeCun et al. 1998, Efficient BackProp, section 4.6 (with OUTPUT_STD 1).
    """
    for layer in _linear(layers):
        nn.init.normal_(layer.weight, std=OUTPUT_STD / float(layer.weight[0].numel()) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _linear(layers: Iterable[nn.Module]) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]


def finding_logits(output_NX: Tensor, states: int) -> Tensor:
    """Return logit_NK from outputs [N, K x states].

    With one state, the logit is the output. With three states (absent, uncertain, present), the logit is present minus
    absent: the sigmoid of this difference is the softmax over present and absent only.
    Source: Irvin et al. 2019, arXiv:1901.07031, section 3 (U-MultiClass).
    """
    return output_NX if states == 1 else output_NX[:, states - 1 :: states] - output_NX[:, ::states]


# mean and standard deviation of ImageNet's RGB channels, as timm and torchvision have them
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def timm_model(name: str, num_outputs: int, in_channels: int, **options: Any) -> nn.Module:
    """Return a timm network with random weights; `name` is NAME or NAME.TAG.

    Raises ConfigError for a name or tag that timm does not have.
    """
    import timm

    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=num_outputs, in_chans=in_channels, **options
        )
    except RuntimeError as error:
        if not str(error).startswith(("Unknown model", "Invalid pretrained tag")):
            raise
        names = timm.list_models() + timm.list_pretrained()
        fix = ConfigError.suggestion(name, names, "`timm.list_pretrained()` lists all names")
        raise ConfigError(f"timm {timm.__version__} has no model {name!r}", name, fix) from error
    return model


def hub_repository(name: str) -> str:
    """Return the hub repository of a timm model's weights; "" if the hub does not have these weights."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return str(config.hf_hub_id or "") if config else ""


def release_file(name: str) -> tuple[str, Path]:
    """Return the address of a model's weights in timm's releases ("" if timm states none), and their local path."""
    import timm

    url = str(getattr(timm.get_pretrained_cfg(name), "url", None) or "")
    return url, Path(get_dir()) / "checkpoints" / Path(url).name


def check_timm(options: Mapping[str, Any], channels: int, size: int, where: str) -> None:
    """Raise ConfigError when timm does not have the model, or the model has no classifier or cannot take images of size x size pixels.

    The check is fast, because it builds the model on torch's meta device, without weights.
    """
    with torch.device("meta"):
        model = timm_model(num_outputs=1, in_channels=channels, **options)
    if not hasattr(model, "get_classifier"):
        fix = "choose another network; in timm, names that end in _enc have no classifier"
        raise ConfigError(f"{options['name']} has no classifier, so it cannot learn findings", where, fix)
    config: Any = model.pretrained_cfg
    native = config["input_size"][-1]
    resized = {"img_size", "dynamic_img_size"} & set(options)
    if config.get("fixed_input_size") and native != size and not resized:
        fix = f"choose a preprocessing of {native} pixels, or write an entry `with: {{img_size: {size}}}`"
        raise ConfigError(f"{options['name']} only takes images of {native} pixels, not {size}", where, fix)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the CPU generator during the block; unlike torch.manual_seed, GPU generators keep their state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _load_pretrained(
    tensors: Mapping[str, Tensor], source: str, backbone: nn.Module, in_channels: int, options: Mapping[str, Any]
) -> None:
    """Copy all weights of an ImageNet model, except the classifier, into the backbone.

    `tensors`: the weights of the model. `source`: name of their file, for errors. Raises SetupError when a key is missing,
    unexpected or of another shape.
    """
    from timm.models import adapt_input_conv

    config: dict[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    state = _imagenet_state(tensors, source, config, options)
    classifier = tuple(f"{name}." for name in _names(config.get("classifier")))
    state = {key: value for key, value in state.items() if not key.startswith(classifier)}
    for conv in _names(config.get("first_conv")) if in_channels != 3 else ():
        state[f"{conv}.weight"] = adapt_input_conv(in_channels, state[f"{conv}.weight"])
    wrong = backbone.load_state_dict(state, strict=False)
    missing = [key for key in wrong.missing_keys if not key.startswith(classifier)]
    if missing or wrong.unexpected_keys:
        raise _misfit(source, config, f"missing {missing}, unexpected {wrong.unexpected_keys}")


def _load_mapped(
    tensors: Mapping[str, Tensor], source: str, backbone: nn.Module, in_channels: int, keys: Mapping[str, str | None]
) -> None:
    """Copy all weights of a file, except the output layers, into the backbone; map the names with `keys`.

    If the name of a tensor in the file starts with a key, this start is replaced by the key's value; a value of None
    removes the tensor. If a name starts with several keys, the longest key is used. A first convolution for three
    channels is adapted to `in_channels`. Raises SetupError when a name is missing, unexpected or used twice, or when a
    shape differs.
    """
    from timm.models import adapt_input_conv

    expected = backbone.state_dict()
    outputs = output_layers(backbone)
    ignored = tuple(f"{name}." for name, module in backbone.named_modules() if any(module is o for o in outputs))
    state: dict[str, Tensor] = {}
    twice: list[str] = []
    for name, tensor in tensors.items():
        renamed = _renamed(name, keys)
        if renamed is None or renamed.startswith(ignored):
            continue
        if renamed in state:
            twice.append(renamed)
        wanted = expected.get(renamed, tensor).shape
        if tensor.ndim == 4 and wanted != tensor.shape and tensor.shape[1] == 3 and wanted[1] == in_channels:
            tensor = adapt_input_conv(in_channels, tensor)
        state[renamed] = tensor
    missing = [key for key in expected if key not in state and not key.startswith(ignored)]
    problems = {
        "missing": [key for key in missing if not key.endswith("num_batches_tracked")],
        "unexpected": [k for k in state if k not in expected],
        "of another shape": [k for k in state if k in expected and state[k].shape != expected[k].shape],
        "used twice": twice,
    }
    if any(problems.values()):
        others = {"missing": problems["unexpected"], "unexpected": list(expected)}
        texts = [
            f"{len(names)} {word}: {', '.join(_with_nearest(name, others.get(word, ())) for name in names[:3])}"
            for word, names in problems.items()
            if names
        ]
        fix = "correct `keys:` of the weights in the registry, or choose the architecture of this file"
        raise SetupError(f"the names in the file do not fit the network ({'; '.join(texts)})", source, fix)
    backbone.load_state_dict(state, strict=False)


def _with_nearest(name: str, others: Sequence[str]) -> str:
    """Return a name, with the most similar of the other names in brackets if one is similar.

    >>> _with_nearest("blocks.0.norm.weight", ["blocks.0.norm1.weight", "head"])
    'blocks.0.norm.weight (nearest: blocks.0.norm1.weight)'
    """
    near = ConfigError.nearest(name, others)
    return f"{name} (nearest: {near[0]})" if near else name


def _renamed(name: str, keys: Mapping[str, str | None]) -> str | None:
    """Return the name in the network for a tensor with this name in the file; None if the tensor is not used.

    >>> keys = {"encoder.": "", "encoder.head.": None}
    >>> _renamed("encoder.conv.weight", keys), _renamed("encoder.head.bias", keys), _renamed("bn.bias", keys)
    ('conv.weight', None, 'bn.bias')
    """
    start = max((key for key in keys if name.startswith(key)), key=len, default=None)
    if start is None:
        return name
    replacement = keys[start]
    return None if replacement is None else replacement + name.removeprefix(start)


def _imagenet_state(
    tensors: Mapping[str, Tensor], source: str, config: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the weights {name: tensor} of the complete ImageNet model, with the classifier, from the tensors of a file.

    timm converts older names of tensors. Raises SetupError for missing or unexpected tensors.
    """
    import timm

    model_options = {key: value for key, value in options.items() if key not in {"name", "pretrained_cfg_overlay"}}
    overlay = {**options.get("pretrained_cfg_overlay", {}), "state_dict": tensors, "custom_load": False}
    try:
        with torch.random.fork_rng(devices=[]):
            model = timm.create_model(options["name"], pretrained=True, pretrained_cfg_overlay=overlay, **model_options)
    except (RuntimeError, KeyError) as error:
        raise _misfit(source, config, str(error)) from error
    state: dict[str, Tensor] = model.state_dict()
    return state


def _misfit(source: str, config: Mapping[str, Any], detail: str) -> SetupError:
    detail = " ".join(detail.split())
    shown = detail if len(detail) < 600 else f"{detail[:600]} ..."
    fix = f"give the ImageNet weights of timm's {config['architecture']}, with timm's keys"
    return SetupError(f"the weights do not fit {config['architecture']}: {shown}", source, fix)


def _read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file."""
    if file.suffix != ".safetensors":
        fix = "convert the file to .safetensors in an isolated environment, because loading a pickle runs its code"
        raise SetupError(f"starting weights must be a .safetensors file, not {file.suffix!r}", str(file), fix)
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        fix = "give a readable safetensors file, or download it again"
        raise SetupError(f"cannot read the starting weights: {error}", str(file), fix) from error


def _download(backbone: nn.Module, where: str) -> tuple[dict[str, Tensor], str]:
    """Download the weights of the architecture's tag from timm's hub; return the tensors and their address.

    The weights of a few tags (legacy_xception) are not on the hub but are files of timm's releases. The file name
    contains a hash, which is checked, and only tensors are unpickled. Raises SetupError when the download fails; random
    weights are never used instead.
    """
    config: dict[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    repository, url = config.get("hf_hub_id"), config.get("url")
    if not repository and not url:
        raise SetupError("timm's hub has no weights of this tag", where, "choose another tag, or `weights: none`")
    source = f"{repository}/model.safetensors" if repository else str(url)
    try:
        if repository:
            return _read(Path(download(repository, "model.safetensors"))), source
        return download_release(source), source
    except Exception as error:  # the hub client raises its own errors and those of httpx and of the system
        fix = "check the network, or put the file under --weights DIR"
        raise SetupError(f"cannot download {source}: {error}", where, fix) from error


def download_release(url: str) -> dict[str, Tensor]:
    """Return the tensors of a weights file among the releases of timm on GitHub."""
    tensors: dict[str, Tensor] = load_state_dict_from_url(
        url, map_location="cpu", progress=False, check_hash=True, weights_only=True
    )
    return tensors


def _names(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return a timm setting (a name, several names or None) as a tuple of names."""
    return (value,) if isinstance(value, str) else tuple(value or ())
