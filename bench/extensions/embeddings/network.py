"""The network of a run on given vectors: an output layer without an encoder, which only its owner can run."""

from torch import Tensor, nn

from harmonize.errors import SetupError


class GivenVectors(nn.Module):
    """A backbone whose features come from tables (`bench.extensions.embeddings.tables`), so it has only the output layer."""

    def __init__(self, num_outputs: int, in_channels: int, width: int) -> None:  # noqa: ARG002  (every architecture gets it)
        super().__init__()
        self.head = nn.Linear(width, num_outputs)

    def get_classifier(self) -> nn.Linear:
        """Return the output layer."""
        return self.head

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Raise SetupError: see `forward_features`."""
        return self.forward_features(x_NCHW)

    def forward_features(self, x_NCHW: Tensor) -> Tensor:  # noqa: ARG002  (the images that it cannot read)
        """Raise SetupError, because there is no network that reads images."""
        what = "this run has no network that reads images: the owner of the encoder computed its vectors"
        fix = "name a run with its own encoder; the scores of this run come from its tables of vectors alone"
        raise SetupError(what, "a run with `embeddings`", fix)
