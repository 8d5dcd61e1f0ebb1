"""Compute outputs, trained matrices and merged weights with peft, for the tests of bench/models/lora.py.

tox -e oracles                      # compare with the committed table
python scripts/oracles/lora.py      # write the table again; needs peft
"""

from typing import Any

import torch
from committed_table import main
from peft import LoraConfig, get_peft_model
from torch import nn

NAMES = ("first", "second")


class Small(nn.Module):
    """Two linear layers, one without a bias, and an output layer that learns as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5, bias=False)
        self.last = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return two outputs for each row."""
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


def case(seed: int, rank: int, alpha: float, steps: int) -> dict[str, Any]:
    """Train with peft by plain gradient descent; return the inputs, and what came out."""
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float64)
    network = Small()
    start = {name: tensor.tolist() for name, tensor in network.state_dict().items()}
    x, target = torch.randn(8, 4), torch.randn(8, 2)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(NAMES), modules_to_save=["last"])
    model = get_peft_model(network, config)
    weights = dict(model.named_parameters())
    first = {}
    for name in NAMES:
        for letter in "AB":
            tensor = weights[f"base_model.model.{name}.lora_{letter}.default.weight"]
            assert bool((tensor == 0).all()) == (letter == "B")
            first[f"{name}.{letter}"] = tensor.tolist()
            assert tensor.abs().max() <= tensor.shape[1] ** -0.5 or letter == "B"
    before = model(x).tolist()
    losses = []
    for _ in range(steps):
        model.zero_grad()
        loss = (model(x) - target).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad and weight.grad is not None:
                    weight -= 0.5 * weight.grad
    after = model(x).tolist()
    merged = model.merge_and_unload()
    stored = {name: tensor.tolist() for name, tensor in merged.state_dict().items()}
    inputs = {"rank": rank, "alpha": alpha, "steps": steps, "start": start, "x": x.tolist(), "target": target.tolist()}
    return inputs | {"first": first, "before": before, "losses": losses, "after": after, "merged": stored}


if __name__ == "__main__":
    settings = [(0, 1, 1.0, 3), (1, 2, 16.0, 4), (2, 4, 3.0, 5)]
    # the tests allow the same tolerance
    main("lora", {"cases": [case(*setting) for setting in settings]}, tolerance=1e-9)
