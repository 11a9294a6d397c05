"""Tiny instances of every model, by name. Each law is asserted over all of them: a new model is one new line."""

from collections.abc import Callable

import torch
from torch import Tensor

from nextpixel import ClassCondition, GatedPixelCNN
from nextpixel.models.core import AutoregressiveModel

CASES: dict[str, Callable[[], AutoregressiveModel]] = {
    "gated": lambda: GatedPixelCNN(levels=4, features=8, layers=3, kernel_size=3),
    "gated-binary": lambda: GatedPixelCNN(levels=2, features=8, layers=3, kernel_size=3, skip=True),
    "gated-rgb": lambda: GatedPixelCNN(channels=3, levels=3, features=24, layers=3, kernel_size=3),
    "gated-rgba-deep": lambda: GatedPixelCNN(
        channels=4, levels=2, head="softmax", features=32, layers=5, kernel_size=3
    ),
    "gated-wide-kernels": lambda: GatedPixelCNN(
        channels=3, levels=2, features=24, head_features=30, layers=2, kernel_size=5, first_kernel_size=7, skip=True
    ),
    "gated-dropout": lambda: GatedPixelCNN(levels=3, features=8, layers=3, kernel_size=3, dropout=0.3),
    "gated-classes": lambda: GatedPixelCNN(levels=3, features=8, layers=3, kernel_size=3, condition=ClassCondition(3)),
    "gated-rgb-classes": lambda: GatedPixelCNN(
        channels=3, levels=2, features=24, layers=2, kernel_size=5, condition=ClassCondition(2), skip=True
    ),
    "gated-one-layer": lambda: GatedPixelCNN(
        channels=2, levels=3, features=16, layers=1, kernel_size=3, first_kernel_size=9
    ),
}

# Images in which every sub-pixel is within reach of every model above, taller than wide and wider than tall.
SHAPES = [(4, 3), (3, 4)]

UNSEEN: dict[str, str] = {}
"""Cases that are allowed to miss some of the past, with the reason. None is."""


def build(name: str, *, seed: int = 0) -> AutoregressiveModel:
    """A case in float64 and evaluation mode; conditions matter from the start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CASES[name]().double().eval()
        for parameter in model.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def trained(name: str, *, steps: int = 20) -> AutoregressiveModel:
    """A case after a few steps on random images: moved weights, which masks must still hold back."""
    model = build(name).train()
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(2)
        for _ in range(steps):
            x = images(model, 8, (4, 4), generator)
            loss = -model(x, conditions(model, 8)).log_prob(x).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def images(
    model: AutoregressiveModel, n: int, shape: tuple[int, int], generator: torch.Generator | None = None
) -> Tensor:
    """Random images for a model."""
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    return torch.randint(model.levels, (n, model.channels, *shape), generator=generator)


def conditions(model: AutoregressiveModel, n: int) -> Tensor | None:
    """A condition for each of n images, or None for an unconditional model."""
    return None if model.condition is None else torch.arange(n) % model.condition.classes
