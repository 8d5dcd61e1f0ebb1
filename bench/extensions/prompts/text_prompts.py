"""Make a file of prompts with the text model of a local folder: `bench prompts`.

    texts = PromptTexts.read(Path("prompts.yaml"))
    texts.encoded(open_text_model(Path("MODEL")), Path("prompts.safetensors"))

The folder has a CLIP or SigLIP model of transformers (`config.json`) or of open_clip (`open_clip_config.json`), with
weights as safetensors and the files of the tokenizer. No code of the folder is run, and nothing is downloaded.

Legend: T texts, D numbers of a text vector.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.extensions.prompts.prompt_file import Prompts, metadata
from bench.store.store import write_bytes
from harmonize.errors import ConfigError, SetupError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

_SIDES = ("positive", "negative")
_INSTALL = "pip install 'unseen-cxr[text]'"


@dataclass(frozen=True, slots=True, eq=False)
class TextModel:
    """A text model, and what its image network needs so that both can be compared."""

    encode: Callable[[Sequence[str]], Tensor]  # T texts -> vectors [T, D]
    scale: float
    bias: float
    projection_DF: Tensor | None
    source: str


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """The content of prompts.yaml."""

    findings: tuple[str, ...]
    wordings: tuple[Mapping[str, str], ...]
    names: Mapping[str, str]  # finding -> its name in the texts

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read prompts.yaml. Raises ConfigError for unknown keys, spaces and findings, and for texts without {}."""
        where = str(path)
        try:
            raw = msgspec.convert(read_yaml(path), dict[str, Any])
            wordings = msgspec.convert(raw.get("wordings") or [], list[dict[str, str]])
            names = msgspec.convert(raw.get("names") or {}, dict[str, str])
        except msgspec.ValidationError as error:
            raise ConfigError(f"wrong type: {error}", where, "write `wordings: [{positive: ...}]`") from None
        ConfigError.known_keys(raw, ("space", "wordings", "names"), where)
        space, spaces = raw.get("space"), labels_yaml()["spaces"]
        if space not in spaces:
            fix = ConfigError.suggestion(space, spaces)
            raise ConfigError(f"unknown label space {space!r}", f"{where}: space", fix)
        findings = tuple(map(str, spaces[space]))
        ConfigError.known_keys(names, findings, f"{where}: names")
        sides = [set(wording) for wording in wordings]
        texts = [text for wording in wordings for text in wording.values()]
        if not sides or sides[0] not in ({"positive"}, set(_SIDES)) or any(own != sides[0] for own in sides):
            fix = 'give each wording `{positive: "{}", negative: "no {}"}`, or each `positive` only: {} stands for the finding'
            raise ConfigError("a wording is invalid, or there is none", f"{where}: wordings", fix)
        if without := [text for text in texts if "{}" not in text]:
            raise ConfigError(f"the text {without[0]!r} has no {{}}", f"{where}: wordings", "write {} for the finding")
        return cls(findings, tuple(wordings), names)

    @property
    def rule(self) -> str:
        """Return "softmax" if the wordings have negative texts, else "sigmoid" (see `PromptHead`)."""
        return "softmax" if "negative" in self.wordings[0] else "sigmoid"

    def texts(self, wording: Mapping[str, str]) -> list[str]:
        """Return the texts of a wording: the positive and the negative prompt of each finding in turn.

        Without a negative text, the positive text stands in its place; the rule sigmoid does not use it.
        """
        return [
            wording.get(side, wording["positive"]).replace("{}", self.names.get(finding, finding.lower()))
            for finding in self.findings
            for side in _SIDES
        ]

    @torch.inference_mode()
    def encoded(self, model: TextModel, path: Path) -> Prompts:
        """Encode all texts, write the file of prompts, and return its content."""
        from safetensors.numpy import save

        text = []
        for wording in self.wordings:
            vector_TD = model.encode(self.texts(wording)).float()
            unit_TD = vector_TD / vector_TD.norm(dim=1, keepdim=True)
            text.append(unit_TD.numpy().reshape(len(self.findings), 2, -1))
        arrays: dict[str, NDArray[np.float32]] = {
            "text": np.stack(text).astype(np.float32),
            "scale": np.array(model.scale, np.float32),
            "bias": np.array(model.bias, np.float32),
        }
        if model.projection_DF is not None:
            arrays["projection"] = np.ascontiguousarray(model.projection_DF.float().numpy())
        facts = metadata(self.findings, self.wordings, self.rule, model.source)
        write_bytes(path, save(arrays, facts))
        return Prompts.read(path)


def open_text_model(folder: Path) -> TextModel:
    """Load the text model of a folder.

    Raises SetupError if packages or files are missing, if the folder has another kind of model, or if weights do not fit
    completely: then some would be random.
    """
    if (folder / "open_clip_config.json").is_file():
        return _open_clip(folder)
    if (folder / "config.json").is_file():
        return _transformers(folder)
    what = "the folder has no model of transformers (config.json) or of open_clip (open_clip_config.json)"
    raise SetupError(what, str(folder), "give the folder of a CLIP or SigLIP model")


def _require_safetensors(folder: Path, names: Sequence[str]) -> Path:
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        fix = f"add {names[0]}; convert a pickle in an isolated environment, because loading it can run code"
        raise SetupError("the folder has no weights as safetensors", str(folder), fix)
    return file


def _transformers(folder: Path) -> TextModel:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise SetupError("transformers is not installed", str(folder), _INSTALL) from error
    _require_safetensors(folder, ("model.safetensors", "model.safetensors.index.json"))
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model, info = AutoModel.from_pretrained(  # a local folder  # nosec B615
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **local
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)  # a local folder  # nosec B615
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        fix = "give the complete folder of a CLIP or SigLIP model, with its tokenizer"
        raise SetupError(f"cannot load the model: {str(error)[:300]}", str(folder), fix) from error
    wrong = [str(name) for kind in ("missing", "unexpected", "mismatched") for name in info.get(f"{kind}_keys") or ()]
    if wrong:
        what = f"{len(wrong)} weights of the file do not fit the model: {', '.join(wrong[:3])}"
        raise SetupError(what, str(folder), "give the weights that belong to config.json: nothing may stay random")
    if not hasattr(model, "get_text_features"):
        what = f"{type(model).__name__} has no text features in the space of images"
        raise SetupError(what, str(folder), "give the folder of a CLIP or SigLIP model")
    model.eval()
    config = model.config.text_config
    longest = int(config.max_position_embeddings)
    siglip = "siglip" in str(model.config.model_type)

    def encode(texts: Sequence[str]) -> Tensor:
        _check_lengths(texts, [len(ids) for ids in tokenizer(list(texts))["input_ids"]], longest, folder)
        tokens = tokenizer(
            list(texts),
            padding="max_length" if siglip else True,
            max_length=longest if siglip else None,
            return_tensors="pt",
        )
        if siglip:
            tokens.pop("attention_mask", None)  # SigLIP was trained without a mask
        found = model.get_text_features(**tokens)
        vectors: Tensor = found if isinstance(found, Tensor) else found.pooler_output
        return vectors

    projection = getattr(model, "visual_projection", None)
    bias = getattr(model, "logit_bias", None)
    return TextModel(
        encode,
        float(model.logit_scale.detach().exp()),
        0.0 if bias is None else float(bias.detach()),
        None if projection is None else projection.weight.detach(),
        f"transformers {type(model).__name__}",
    )


def _open_clip(folder: Path) -> TextModel:
    try:
        import open_clip
    except ImportError as error:
        raise SetupError("open_clip is not installed", str(folder), _INSTALL) from error
    file = _require_safetensors(folder, ("open_clip_model.safetensors", "model.safetensors"))
    name = f"local-dir:{folder.resolve()}"
    try:
        from safetensors.torch import load_file

        model = open_clip.create_model(name, load_weights=False)
        model.load_state_dict(load_file(file))
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        fix = "give the complete folder of an open_clip model: open_clip_config.json, weights and tokenizer"
        raise SetupError(f"cannot load the model: {str(error)[:300]}", str(folder), fix) from error
    model.eval()
    projection = getattr(model.visual, "proj", None)
    head = getattr(model.visual, "head", None)  # towers of timm: a projection without a bias
    linear = getattr(head, "proj", None)
    if hasattr(head, "mlp") or (isinstance(linear, torch.nn.Linear) and linear.bias is not None):
        what = "the projection of the image network is more than one matrix"
        raise SetupError(what, str(folder), "use another model")
    if projection is None and isinstance(linear, torch.nn.Linear):
        projection = linear.weight.T
    bias = getattr(model, "logit_bias", None)

    longest = int(model.context_length)
    padding = getattr(getattr(tokenizer, "tokenizer", None), "pad_token_id", 0)

    def encode(texts: Sequence[str]) -> Tensor:
        lengths = (tokenizer(list(texts), context_length=2 * longest) != padding).sum(1)
        _check_lengths(texts, lengths.tolist(), longest, folder)
        tokens = tokenizer(list(texts), context_length=longest)
        vectors: Tensor = model.encode_text(tokens)
        return vectors

    return TextModel(
        encode,
        float(model.logit_scale.detach().exp()),
        0.0 if bias is None else float(bias.detach()),
        None if projection is None else projection.detach().T,
        f"open_clip {json.loads((folder / 'open_clip_config.json').read_bytes()).get('model_cfg', {}).get('embed_dim', '')}",
    )


def _check_lengths(texts: Sequence[str], lengths: Sequence[int], longest: int, folder: Path) -> None:
    """Raise ConfigError for a text that the model would cut off."""
    for text, length in zip(texts, lengths, strict=True):
        if length > longest:
            what = f"a text has {length} tokens, but the model reads {longest}: {text[:80]!r}"
            raise ConfigError(what, str(folder), "shorten the text: its end would be ignored")
