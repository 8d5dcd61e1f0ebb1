"""Files of prompts from small random text models of the real classes, against the models' own zero-shot logits."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.extensions.prompts.output_layer import PromptHead
from bench.extensions.prompts.prompt_file import Prompts
from bench.extensions.prompts.text_prompts import PromptTexts, open_text_model
from harmonize.errors import ConfigError, SetupError
from tests.nonempty import nonempty

YAML = """
space: shared-9
wordings:
  - {positive: "{}", negative: "no {}"}
  - {positive: "chest radiograph with {}", negative: "chest radiograph without {}"}
names: {Edema: pulmonary edema}
"""
D, F = 12, 16


def texts(folder: Path, content: str = YAML) -> PromptTexts:
    (folder / "prompts.yaml").write_text(content)
    return PromptTexts.read(folder / "prompts.yaml")


def head_of(prompts: Prompts, wording: int) -> PromptHead:
    head = PromptHead(len(prompts.findings), prompts.shape)
    head.load(prompts, prompts.findings, wording)
    return head


def tokenizer(folder: Path, words: list[str]) -> Any:
    """Write a tokenizer of whole words; the last id ends a text."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `text`")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", *sorted(set(words)), "<end>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing("$A <end>", None, [("<end>", vocabulary["<end>"])])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<end>"
    )
    made.save_pretrained(folder)
    return made, vocabulary


def transformers_folder(folder: Path, wanted: PromptTexts, kind: str) -> Any:
    """Write a random CLIP or SigLIP model with its tokenizer; return the model."""
    transformers = pytest.importorskip("transformers", reason="needs the extra `text`")
    words = [word for wording in wanted.wordings for text in wanted.texts(wording) for word in text.split()]
    made, vocabulary = tokenizer(folder, words)
    shared = {"hidden_size": F, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = shared | {"vocab_size": len(vocabulary), "max_position_embeddings": 10, "eos_token_id": made.eos_token_id}
    text |= {"pad_token_id": made.pad_token_id, "bos_token_id": None}
    vision = shared | {"image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=D)
        model = transformers.CLIPModel(config)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
        torch.nn.init.constant_(model.logit_scale, 1.5)
        torch.nn.init.constant_(model.logit_bias, -2.0)
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "siglip"])
@torch.inference_mode()
def test_prompts_of_transformers_give_the_logits_of_the_whole_model(tmp_path: Path, kind: str) -> None:
    wanted = texts(tmp_path)
    model = transformers_folder(tmp_path, wanted, kind)
    prompts = wanted.encoded(open_text_model(tmp_path), tmp_path / "prompts.safetensors")
    assert prompts.arrays["text"].shape == (2, 9, 2, D if kind == "clip" else F)
    assert prompts.shape.features == F
    pixels = torch.rand(3, 3, 16, 16)
    features = model.vision_model(pixels).pooler_output
    transformers = pytest.importorskip("transformers")
    made = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for w, wording in enumerate(wanted.wordings):
        padding: dict[str, Any] = {"padding": "max_length", "max_length": 10} if kind == "siglip" else {"padding": True}
        tokens = made(wanted.texts(wording), return_tensors="pt", **padding)
        if kind == "siglip":
            tokens.pop("attention_mask")
        logit_NT = model(pixel_values=pixels, **tokens).logits_per_image
        expected_NK = logit_NT[:, 0::2] - logit_NT[:, 1::2]
        torch.testing.assert_close(head_of(prompts, w)(features), expected_NK, atol=1e-4, rtol=1e-4)
    again = wanted.encoded(open_text_model(tmp_path), tmp_path / "again.safetensors")
    assert again.path.read_bytes() == prompts.path.read_bytes()  # reproducible


@pytest.mark.slow
@torch.inference_mode()
def test_the_rule_sigmoid_is_siglips_own_probability(tmp_path: Path) -> None:
    wanted = texts(tmp_path, 'space: shared-9\nwordings:\n  - {positive: "chest radiograph with {}"}\n')
    assert wanted.rule == "sigmoid"
    model = transformers_folder(tmp_path, wanted, "siglip")
    prompts = wanted.encoded(open_text_model(tmp_path), tmp_path / "prompts.safetensors")
    pixels = torch.rand(3, 3, 16, 16)
    made = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)
    tokens = made(wanted.texts(wanted.wordings[0])[::2], return_tensors="pt", padding="max_length", max_length=10)
    expected = model(pixel_values=pixels, input_ids=tokens["input_ids"]).logits_per_image
    found = head_of(prompts, 0)(model.vision_model(pixels).pooler_output)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_weights_that_are_missing_or_pickled_and_other_models_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    wanted = texts(tmp_path)
    transformers_folder(tmp_path, wanted, "clip")
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    part = {name: tensor for name, tensor in whole.items() if "text_projection" not in name}
    save_file(part, file, {"format": "pt"})
    logging.disable(logging.WARNING)
    with pytest.raises(SetupError, match="1 weights of the file do not fit the model: text_projection"):
        open_text_model(tmp_path)
    save_file(whole | {"other": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(SetupError, match="1 weights of the file do not fit the model: other"):
        open_text_model(tmp_path)
    logging.disable(logging.NOTSET)
    file.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(SetupError, match="no weights as safetensors"):
        open_text_model(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(SetupError, match="no model of transformers"):
        open_text_model(tmp_path)


def test_a_text_that_the_model_would_cut_off_is_refused(tmp_path: Path) -> None:
    wanted = texts(tmp_path, YAML.replace("chest radiograph without {}", " ".join(["word"] * 12) + " {}"))
    transformers_folder(tmp_path, wanted, "clip")
    with pytest.raises(ConfigError, match="a text has 15 tokens, but the model reads 10"):
        wanted.encoded(open_text_model(tmp_path), tmp_path / "prompts.safetensors")


@pytest.mark.slow
@torch.inference_mode()
def test_prompts_of_open_clip_give_the_logits_of_its_zero_shot_classifier(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip", reason="needs the extra `text`")
    from safetensors.torch import save_file

    vision = {"image_size": 16, "layers": 1, "width": F, "head_width": 8, "patch_size": 8}
    text = {"context_length": 24, "vocab_size": 49408, "width": F, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": D, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    wanted = texts(tmp_path)
    prompts = wanted.encoded(open_text_model(tmp_path), tmp_path / "prompts.safetensors")
    pixels = torch.rand(3, 3, 16, 16)
    image = model.encode_image(pixels, normalize=True)
    projection, model.visual.proj = model.visual.proj, None
    features = model.encode_image(pixels)
    model.visual.proj = projection
    own = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    for w, wording in nonempty(enumerate(wanted.wordings)):
        weights = [
            open_clip.build_zero_shot_classifier(
                model, own, wanted.texts(wording)[side::2], [lambda name: name], device="cpu"
            )
            for side in (0, 1)
        ]
        positive, negative = (model.logit_scale.exp() * image @ weight for weight in weights)
        torch.testing.assert_close(head_of(prompts, w)(features), positive - negative, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("space: shared-9\n", "a wording is invalid, or there is none"),
        ("space: shared\nwordings: []\n", "unknown label space 'shared'"),
        ('space: shared-9\nwordings:\n  - {positive: "x"}\n', "the text 'x' has no {}"),
        ('space: shared-9\nwordings:\n  - {negative: "no {}"}\n', "a wording is invalid"),
        (YAML.replace(', negative: "no {}"', ""), "a wording is invalid"),
        (YAML.replace("Edema:", "Oedema:"), "unknown key 'Oedema'"),
        (YAML + "texts: 1\n", "unknown key 'texts'"),
        ("- space: shared-9\n", "Expected `object`, got `array`"),
        ("space: shared-9\nwordings: 5\n", "Expected `array`, got `int`"),
        (YAML.replace("pulmonary edema", "5"), "Expected `str`, got `int`"),
    ],
)
def test_wrong_texts_are_refused(tmp_path: Path, content: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        texts(tmp_path, content)
    assert what in error.value.what
    assert error.value.fix


def test_texts_name_the_findings_in_turn(tmp_path: Path) -> None:
    wanted = texts(tmp_path)
    first = wanted.texts(wanted.wordings[0])
    assert first[:2] == ["atelectasis", "no atelectasis"] or len(first) == 18
    assert "pulmonary edema" in first
    assert "no pulmonary edema" in first
    assert np.array(first).reshape(9, 2)[:, 1].tolist() == [f"no {name}" for name in first[::2]]
