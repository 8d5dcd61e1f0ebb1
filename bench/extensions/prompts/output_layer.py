"""A zero-shot output layer: the cosine similarity of an image's features and the vectors of prompts, as logits.

Legend: N images, K findings, D numbers of a text vector, F features of the image network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.extensions.prompts.prompt_file import Prompts, PromptShape
from bench.models.output_layers import output_layers


class PromptHead(nn.Module):
    """An output layer [F features -> K logits] that compares features with prompts.

    Rule softmax: logit = scale x (cosine with the positive prompt - cosine with the negative prompt), so the sigmoid of
    the logit is the softmax over the pair. Rule sigmoid: logit = scale x cosine with the positive prompt + bias.
    """

    is_output_layer = True  # for `output_layers`
    text_K2D: Tensor
    scale: Tensor
    bias: Tensor
    projection_DF: Tensor | None

    def __init__(self, num_findings: int, shape: PromptShape) -> None:
        super().__init__()
        self.rule = shape.rule
        self.register_buffer("text_K2D", torch.zeros(num_findings, 2, shape.width))
        self.register_buffer("scale", torch.zeros(()))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("projection_DF", torch.zeros(shape.width, shape.features) if shape.projected else None)

    @classmethod
    def replacing(cls, backbone: nn.Module, num_findings: int, shape: PromptShape) -> None:
        """Replace the linear output layer of a backbone by an empty layer of prompts."""
        (layer,) = output_layers(backbone)
        name = next(name for name, module in backbone.named_modules() if module is layer)
        parent, _, own = name.rpartition(".")
        setattr(backbone.get_submodule(parent), own, cls(num_findings, shape))

    def forward(self, feature_NF: Tensor) -> Tensor:
        """Return logit_NK."""
        z_ND = feature_NF if self.projection_DF is None else feature_NF @ self.projection_DF.T
        z_ND = z_ND / z_ND.norm(dim=1, keepdim=True).clamp(min=1e-12)
        positive_NK, negative_NK = (z_ND @ self.text_K2D[:, i].T for i in (0, 1))
        if self.rule == "softmax":
            logit_NK: Tensor = self.scale * (positive_NK - negative_NK)
        else:
            logit_NK = self.scale * positive_NK + self.bias
        return logit_NK

    def load(self, prompts: Prompts, findings: Sequence[str], wording: int) -> None:
        """Take over one wording of a file of prompts, in the order of `findings`."""
        index = [prompts.findings.index(finding) for finding in findings]
        arrays = prompts.arrays
        self.text_K2D.copy_(torch.from_numpy(arrays["text"][wording, index]))
        self.scale.copy_(torch.from_numpy(arrays["scale"]))
        self.bias.copy_(torch.from_numpy(arrays["bias"]))
        if self.projection_DF is not None:
            self.projection_DF.copy_(torch.from_numpy(arrays["projection"]))
