"""Convert a published file of an encoder to safetensors, with the tensor names of the network in the registry.

    python scripts/convert.py eva_x_ti eva_x_tiny_patch16_merged520k_mim.pt --to weights
    python scripts/convert.py biovil_t biovil_t_image_model.pt --to weights --drop encoder.backbone_to_vit.

ENCODER is an entry of the registry section `encoders`. The new file gets the name that the entry states. Run this script
apart from `bench`, best on an isolated machine: it opens files of others. Pickles are opened with `weights_only=True`. If a file
has whole modules, each class that it names is replaced by an empty class of this script: so neither code of the file nor code
of a package runs. Every tensor of the file must have a place in the network, except those that the table DROPPED names for
the format of the file, and those that --drop names. Tensors that do not fit are listed with the nearest name.
"""

import argparse
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.config.registry import Registry
from bench.models.output_layers import output_layers
from bench.store.file_integrity import file_sha256
from harmonize.errors import CxrError

State = dict[str, Tensor]

CONTAINERS = ("teacher", "model_ema", "model", "module", "state_dict", "model_state_dict")  # keys of a checkpoint
PREFIXES = ("module.", "backbone.")  # starts that all names of a network may have
KNOWN_CLASSES = ("torch.nn.modules.", "torchxrayvision.models.")  # starts of classes whose objects have tensors by name
# what torch and safetensors raise for damaged files, and for files of another kind
DAMAGED = (
    *(EOFError, UnpicklingError, SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, struct.error),
)
DROPPED = {  # format -> starts of tensors without a place in an image network: text networks, heads, buffers
    "transformers Dinov2": ("embeddings.mask_token", "classifier."),
    "transformers SigLIP": ("text_model.", "logit_scale", "logit_bias"),
    "OpenAI CLIP": (
        *("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale"),
        *("visual.proj", "input_resolution", "context_length", "vocab_size"),
    ),
    "open_clip with a timm network": ("text.", "visual.head.", "logit_scale", "logit_bias"),
    "EVA": ("mask_token", "lm_head.", "head."),
    "Swin of timm 0.5": ("head.", "omni_heads.", "projector."),
    "ResNet of hi-ml": ("encoder.encoder.fc.",),
    "torchxrayvision": ("classifier.", "op_threshs"),
    "DINOv2": ("mask_token", "head."),
    "timm": ("head.", "fc.", "classifier."),
}


class ConversionError(Exception):
    """A file that cannot be converted; the text says what is wrong and how to fix it."""


def converted(state: Mapping[str, Tensor], network: nn.Module, drop: Iterable[str] = ()) -> tuple[State, str]:
    """Return the tensors with the names of `network` (a timm model), and the format of the file.

    `drop`: starts of further names in the file without a place in the network. The output layer is left out. Raises
    ConversionError if a tensor of the file or of the network is left over, or has another shape.
    """
    outputs = output_layers(network)
    head = tuple(f"{name}." for name, module in network.named_modules() if any(module is o for o in outputs))
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(head)}
    form, rename = _format(state)
    kept = {name: t for name, t in state.items() if not name.startswith((*DROPPED[form], *drop))}
    renamed = rename(kept, expected)
    lines = [
        *(_line("of the network is missing in the file", n, renamed) for n in expected if _is_missing(n, renamed)),
        *(_line("of the file has no place in the network", n, expected) for n in renamed if n not in expected),
        *(
            f"  {n}: shape {list(renamed[n].shape)} in the file, {list(expected[n].shape)} in the network"
            for n in renamed
            if n in expected and renamed[n].shape != expected[n].shape
        ),
    ]
    if lines:
        more = [f"  and {len(lines) - 20} more"] if len(lines) > 20 else []
        fix = "choose the encoder of this file, or name tensors that are not needed with --drop START"
        raise ConversionError("\n".join([f"the file ({form}) does not fit:", *lines[:20], *more, fix]))
    return {name: tensor.contiguous().clone() for name, tensor in renamed.items()}, form


def read(path: Path) -> State:
    """Return the tensors of a file: safetensors, or a pickle of torch, which is opened without running its code.

    Raises ConversionError for a file that is damaged, of another kind, or without tensors.
    """
    try:
        return _opened(path)
    except DAMAGED as error:
        if "TorchScript" in str(error):
            fix = "load it with torch.jit.load on an isolated machine, and give the file of torch.save(model.state_dict(), FILE)"
            raise ConversionError(f"{path} is a TorchScript file, which is a program\n{fix}") from error
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        fix = "give a file of torch.save or safetensors; if it is one, it is damaged: download it again"
        raise ConversionError(f"{path} cannot be opened: {reason}\n{fix}") from error


def _opened(path: Path) -> State:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        content = _modules(path)
    return _tensors(content, path)


class _Module:
    """What takes the place of each class that a file names: it keeps the attributes of an object, and runs nothing."""

    def __init__(self, *_: object) -> None:
        """Ignore the arguments: the file may ask to call its classes."""

    def tensors(self, prefix: str = "") -> State:
        """Return the parameters and buffers of a module as its `state_dict` names them."""
        own = vars(self)
        left_out = own.get("_non_persistent_buffers_set", ())
        stated = {**own.get("_parameters", {}), **own.get("_buffers", {})}
        out = {
            prefix + name: t.detach() for name, t in stated.items() if isinstance(t, Tensor) and name not in left_out
        }
        for name, module in own.get("_modules", {}).items():
            out |= module.tensors(f"{prefix}{name}.") if isinstance(module, _Module) else {}
        return out


def _modules(path: Path) -> object:
    """Return the content of a file with modules of torch or torchxrayvision, each as a `_Module`."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    foreign = [name for name in names if not name.startswith(KNOWN_CLASSES)]
    if foreign:
        what = f"{path.name} needs code to be opened: {', '.join(foreign[:5])}"
        raise ConversionError(
            f"{what}\nask its owner for the file of `model.state_dict()`: this script runs no code of files"
        )
    inert = [(type("_Inert", (_Module,), {}), name) for name in names]
    with torch.serialization.safe_globals(inert):
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _tensors(content: object, path: Path) -> State:
    """Return the tensors of a checkpoint, without the containers and prefixes around them."""
    while isinstance(content, Mapping) and (key := next((k for k in CONTAINERS if _holds(content.get(k))), None)):
        content = content[key]
    if isinstance(content, _Module):
        content = content.tensors()
    if not isinstance(content, Mapping):
        raise ConversionError(f"{path.name} has no tensors by name\ngive the file of a state dict")
    state = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if not state:
        raise ConversionError(f"{path.name} has no tensors by name\ngive the file of a state dict")
    return state


def _holds(content: object) -> bool:
    return isinstance(content, _Module) or (isinstance(content, Mapping) and len(content) > 0)


def _format(state: Mapping[str, Tensor]) -> tuple[str, Callable[..., State]]:
    """Return the name of a file's format and the function that renames its tensors, from names that only this format has."""
    formats: tuple[tuple[str, str, Callable[..., State]], ...] = (
        (r"encoder\.layer\.0\.attention\.attention\.query\.weight", "transformers Dinov2", _of_dinov2),
        (r"vision_model\.encoder\.layers\.0\.self_attn\.q_proj\.weight", "transformers SigLIP", _of_siglip),
        (r"visual\.transformer\.resblocks\.0\.", "OpenAI CLIP", _of_clip),
        (r"visual\.trunk\.", "open_clip with a timm network", _of_trunk),
        (r"blocks\.0\.mlp\.w(1|12)\.weight", "EVA", _of_eva),
        (r"layers\.0\.downsample\.reduction\.weight", "Swin of timm 0.5", _of_old_swin),
        (r"encoder\.encoder\.layer1\.", "ResNet of hi-ml", _of_hi_ml),
        (r"op_threshs|features\.denseblock1\.", "torchxrayvision", _unchanged),
        (r"blocks\.0\.ls1\.gamma", "DINOv2", _unchanged),
    )
    for pattern, name, rename in formats:
        if any(re.match(pattern, key) for key in state):
            return name, rename
    return "timm", _unchanged


def _unchanged(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    return dict(state)


def _of_dinov2(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    """Rename transformers' Dinov2Model: query, key and value become one tensor."""
    rules = (
        (r"^dinov2\.", ""),
        (r"^embeddings\.cls_token", "cls_token"),
        (r"^embeddings\.register_tokens", "reg_token"),
        (r"^embeddings\.position_embeddings", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
        (r"^encoder\.layer\.", "blocks."),
        (r"\.attention\.output\.dense\.", ".attn.proj."),
        (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
        (r"\.layer_scale(\d)\.lambda1", r".ls\1.gamma"),
        (r"^layernorm\.", "norm."),
    )
    return _joined(_renamed(state, rules), ("query", "key", "value"))


def _of_siglip(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    """Rename the image network of transformers' SiglipModel, with its attention pooling."""
    rules = (
        (r"^vision_model\.", ""),
        (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
        (r"^embeddings\.position_embedding\.weight", "pos_embed"),
        (r"^encoder\.layers\.", "blocks."),
        (r"\.self_attn\.out_proj\.", ".attn.proj."),
        (r"\.self_attn\.([qkv])_proj\.", r".attn.\1."),
        (r"\.layer_norm(\d)\.", r".norm\1."),
        (r"^post_layernorm\.", "norm."),
        (r"^head\.probe", "attn_pool.latent"),
        (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
        (r"^head\.attention\.in_proj_", "attn_pool.in_proj."),
        (r"^head\.layernorm\.", "attn_pool.norm."),
        (r"^head\.mlp\.", "attn_pool.mlp."),
    )
    renamed = _joined(_renamed(state, rules), ("q", "k", "v"))
    renamed = {name: t[None] if name == "pos_embed" and t.ndim == 2 else t for name, t in renamed.items()}
    for kind in ("weight", "bias"):
        if (joint := renamed.pop(f"attn_pool.in_proj.{kind}", None)) is not None:
            query, key, value = joint.chunk(3)
            renamed |= {f"attn_pool.q.{kind}": query, f"attn_pool.kv.{kind}": torch.cat([key, value])}
    return renamed


def _of_clip(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    """Rename the ViT of OpenAI's CLIP."""
    rules = (
        (r"^visual\.", ""),
        (r"^class_embedding", "cls_token"),
        (r"^positional_embedding", "pos_embed"),
        (r"^conv1\.", "patch_embed.proj."),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.out_proj\.", ".attn.proj."),
        (r"\.ln_(\d)\.", r".norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    )
    missing_axes = {"cls_token": 2, "pos_embed": 1}
    return {
        name: tensor.float()[(None,) * missing_axes.get(name, 0)] for name, tensor in _renamed(state, rules).items()
    }


def _of_trunk(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    return _renamed(state, ((r"^visual\.trunk\.", ""),))


def _of_hi_ml(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    return _renamed(state, ((r"^encoder\.encoder\.", ""),))


def _of_eva(state: State, expected: Mapping[str, Tensor]) -> State:
    """Rename EVA's ViT; the gate and the value of its MLP become one tensor where the network has one."""
    rules: tuple[tuple[str, str], ...] = (
        (r"\.mlp\.ffn_ln\.", ".mlp.norm."),
        (r"\.attn\.inner_attn_ln\.", ".attn.norm."),
        (r"\.mlp\.w12\.", ".mlp.fc1."),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    )
    if "fc_norm.weight" in expected:  # the network normalizes the mean of the tokens, not each token
        rules = (*rules, (r"^norm\.", "fc_norm."))
    if any(name.endswith(".attn.q_proj.weight") for name in expected):
        rules = (*rules, (r"\.attn\.([qv])_bias$", r".attn.\1_proj.bias"))
    renamed = _renamed({name: t for name, t in state.items() if ".rope." not in f".{name}"}, rules)
    for name in [name for name in renamed if ".mlp.fc1_g." in name]:
        joint = name.replace(".fc1_g.", ".fc1.")
        if joint in expected:
            renamed[joint] = torch.cat([renamed.pop(name), renamed.pop(name.replace(".fc1_g.", ".fc1_x."))])
    return renamed


def _of_old_swin(state: State, expected: Mapping[str, Tensor]) -> State:  # noqa: ARG001
    """Rename a Swin of timm 0.5, in which a stage ends with its downsampling; buffers that follow from the size are left out."""
    kept = {name: t for name, t in state.items() if not name.endswith(("relative_position_index", "attn_mask"))}
    return {re.sub(r"^layers\.(\d+)\.downsample", _next_stage, name): tensor for name, tensor in kept.items()}


def _next_stage(found: "re.Match[str]") -> str:
    return f"layers.{int(found[1]) + 1}.downsample"


def _renamed(state: State, rules: Iterable[tuple[str, str]]) -> State:
    out = {}
    for name, tensor in state.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        out[new] = tensor
    return out


def _joined(state: State, parts: tuple[str, str, str]) -> State:
    """Join the tensors of query, key and value of each block to one tensor."""
    out = dict(state)
    for name in list(state):
        if f".attn.{parts[0]}." in name:
            names = [name.replace(f".attn.{parts[0]}.", f".attn.{part}.") for part in parts]
            if all(own in out for own in names):
                out[name.replace(f".attn.{parts[0]}.", ".attn.qkv.")] = torch.cat([out.pop(own) for own in names])
    return out


def _is_missing(name: str, renamed: Mapping[str, Tensor]) -> bool:
    return name not in renamed and not name.endswith("num_batches_tracked")


def _line(what: str, name: str, others: Iterable[str]) -> str:
    near = get_close_matches(name, list(others), 1, 0.0)
    return f"  {name} {what}" + (f"; nearest: {near[0]}" if near else "")


def main(arguments: list[str] | None = None) -> int:
    """Convert a file as the command line says; return the exit code: 0, or 2 for a file that cannot be converted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("encoder", help="entry of the registry section `encoders`")
    parser.add_argument("file", type=Path, help="the published file")
    parser.add_argument("--to", type=Path, default=Path(), help="folder of the new file, for --weights")
    parser.add_argument("--drop", action="append", default=[], metavar="START", help="start of tensors to leave out")
    parser.add_argument("--registry", type=Path, help="a registry file of your own")
    given = parser.parse_args(arguments)
    try:
        print(_convert(given.encoder, given.file, given.to, given.drop, given.registry))
    except (ConversionError, CxrError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _convert(encoder: str, file: Path, folder: Path, drop: list[str], registry: Path | None) -> str:
    """Write the converted file of an encoder into a folder; return a line about it."""
    entry = Registry.read(registry).find("encoders", encoder, "encoder")
    if "file" not in entry.facts:
        raise ConversionError(f"the weights of {entry.name} are those of timm: `bench run` downloads them")
    state = read(file)
    first = state.get("features.conv0.weight")
    channels = 1 if first is not None and first.shape[1] == 1 else 3
    with torch.device("meta"):
        network = entry.load()(num_outputs=1, in_channels=channels, **entry.options)
    tensors, form = converted(state, network, drop)
    output = folder / str(entry.facts["file"])
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, output, {"format": "pt", "converted_from": form, "sha256": file_sha256(file)})
    return f"{form}: {len(tensors)} tensors written to {output}"


if __name__ == "__main__":
    sys.exit(main())
