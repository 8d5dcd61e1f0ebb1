"""Attentive pooling: a learned query chooses how much each patch of an image counts in the mean over the patches.

The query replaces the pooling of a transformer. The form is the smallest of the attentive probes of Chen et al. 2022,
arXiv:2202.03026: one query and one attention head. A projection of the keys or values would add nothing, because the
query and the linear output layer can learn the same function.

Legend: N images, T tokens (patches, and class or register tokens before them), P patches, F features.
"""

import torch
from torch import Tensor, nn

from bench.models.output_layers import output_layers


class AttentivePooling(nn.Module):
    """Weighted mean of the patch tokens; the weights are the softmax of query · token / sqrt(F) over the patches.

    At first the query is 0, so all patches have the same weight.
    """

    def __init__(self, width: int, num_prefix_tokens: int) -> None:
        super().__init__()
        self.query_F = nn.Parameter(torch.zeros(width))
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, token_NTF: Tensor) -> Tensor:
        """Return feature_NF. Class and register tokens, which come first, have no effect."""
        token_NPF = token_NTF[:, self.num_prefix_tokens :]
        score_NP1 = token_NPF @ self.query_F[:, None]  # a matrix, because fvcore cannot count a product with a vector
        weight_N1P = (score_NP1 * len(self.query_F) ** -0.5).softmax(dim=1).mT
        feature_NF: Tensor = (weight_N1P @ token_NPF)[:, 0]
        return feature_NF

    @classmethod
    def replacing(cls, backbone: nn.Module) -> None:
        """Replace the pooling of a vision transformer. Raises ValueError for a network that this is impossible for."""
        from timm.models.eva import Eva  # imported here, because the import takes two CPU seconds
        from timm.models.vision_transformer import VisionTransformer

        if not isinstance(backbone, VisionTransformer | Eva) or len(output_layers(backbone)) != 1:
            raise ValueError(f"{type(backbone).__name__} is not a vision transformer with one output layer")
        if isinstance(backbone, VisionTransformer):
            backbone.pool_include_prefix = True  # timm then passes on all tokens, as Eva always does
        backbone.attn_pool = cls(backbone.embed_dim, backbone.num_prefix_tokens)  # type: ignore[assignment]
