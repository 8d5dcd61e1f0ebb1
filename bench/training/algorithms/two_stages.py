"""JTT: a second training that counts the errors of a first training more."""

from typing import Any

from torch import Tensor

from bench.training.algorithms.batch import Algorithm, Batch


class JTT(Algorithm):
    """Train twice (just train twice): pairs of image and finding that the first training gets wrong weigh more in the second.

    The epochs `schedule.pretrain_epochs` are the first training. Then the network starts again with its first weights. The loss
    weight of each pair whose logit has the wrong sign is multiplied by `weight`.
    Source: Liu et al. 2021, arXiv:2107.09044, algorithm 1, which repeats images with an error instead of weighting pairs.
    """

    restarts = True

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.error_NK: Tensor | None = None  # errors of the first training; None before its end

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of the whole batch."""
        return batch.loss(batch.outputs())

    def end_pretraining(self, logit_NK: Tensor, target_NK: Tensor) -> None:
        """Note the errors of the first training on the training images."""
        self.error_NK = ((logit_NK > 0) != (target_NK > 0.5)).cpu()

    @property
    def loss_factors(self) -> Tensor | None:
        """Return the factor of the loss weight of each pair of image and finding; None in the first training."""
        return None if self.error_NK is None else 1 + (self.weight - 1) * self.error_NK.float()

    def get_extra_state(self) -> Any:
        """Return the errors, for the checkpoint."""
        return self.error_NK

    def set_extra_state(self, state: Any) -> None:
        """Restore the errors."""
        self.error_NK = state
