"""Tiny instances of every model, by name.

Each law is asserted over all of them: a new model is one new line.
"""

import copy
from collections.abc import Callable, Container, Iterable
from functools import cache

import pytest
import torch
from torch import Tensor

from nextpixel import (
    ClassCondition,
    DiagonalBiLSTM,
    GatedPixelCNN,
    MapCondition,
    MultiScale,
    PixelCNN,
    RowLSTM,
    VectorCondition,
)
from nextpixel.conditions.kinds import of_kind
from nextpixel.conditions.values import Values, random_values
from nextpixel.models.autoencoder import PixelCNNAutoencoder
from nextpixel.models.core import ImageModel

CASES: dict[str, Callable[[], ImageModel]] = {
    "gated": lambda: GatedPixelCNN(levels=4, features=8, layers=3, kernel_size=3),
    "gated-binary": lambda: GatedPixelCNN(levels=2, features=8, layers=3, kernel_size=3, skip=True),
    "gated-rgb": lambda: GatedPixelCNN(channels=3, levels=3, features=24, layers=3, kernel_size=3),
    "gated-rgba-deep": lambda: GatedPixelCNN(
        channels=4, levels=2, head="softmax", features=32, layers=5, kernel_size=3
    ),
    "gated-wide-kernels": lambda: GatedPixelCNN(
        channels=3,
        levels=2,
        features=24,
        head_features=30,
        layers=2,
        kernel_size=5,
        first_kernel_size=7,
        skip=True,
    ),
    "gated-dropout": lambda: GatedPixelCNN(
        levels=3, features=8, layers=3, kernel_size=3, dropout=0.3
    ),
    "gated-classes": lambda: GatedPixelCNN(
        levels=3, features=8, layers=3, kernel_size=3, condition=ClassCondition(3)
    ),
    "gated-rgb-classes": lambda: GatedPixelCNN(
        channels=3,
        levels=2,
        features=24,
        layers=2,
        kernel_size=5,
        condition=ClassCondition(2),
        skip=True,
    ),
    "gated-one-layer": lambda: GatedPixelCNN(
        channels=2, levels=3, features=16, layers=1, kernel_size=3, first_kernel_size=9
    ),
    "gated-map": lambda: GatedPixelCNN(
        channels=2,
        levels=2,
        features=16,
        layers=2,
        kernel_size=5,
        condition=MapCondition(1, scale=3, levels=3),
    ),
    "gated-codes": lambda: GatedPixelCNN(
        levels=5, features=8, layers=3, kernel_size=3, value_features=4
    ),
    "gated-rgb-codes": lambda: GatedPixelCNN(
        channels=3, levels=3, features=12, layers=3, kernel_size=3, value_features=2, head="softmax"
    ),
    "diagonal-codes-complete": lambda: DiagonalBiLSTM(
        channels=2,
        levels=3,
        features=6,
        layers=2,
        kernel_size=3,
        complete_context=True,
        value_features=3,
    ),
    "pixel-cnn-codes-logistic": lambda: PixelCNN(
        channels=2, levels=4, features=7, layers=3, value_features=3, head="logistic"
    ),
    "gated-vector": lambda: GatedPixelCNN(
        levels=3, features=8, layers=3, kernel_size=3, condition=VectorCondition(4)
    ),
    "gated-all-conditions": lambda: GatedPixelCNN(
        channels=2,
        levels=2,
        features=16,
        layers=2,
        kernel_size=5,
        condition=(
            ClassCondition(3),
            VectorCondition(2),
            MapCondition(1, scale=2, levels=None, features=5),
            MapCondition(2, scale=1, levels=3, categorical=True, features=4),
        ),
    ),
    "gated-logistic": lambda: GatedPixelCNN(
        channels=3,
        levels=3,
        features=10,
        layers=3,
        kernel_size=3,
        head="logistic",
        condition=ClassCondition(2),
    ),
    "gated-logistic-linear": lambda: GatedPixelCNN(
        channels=3,
        levels=4,
        features=10,
        layers=2,
        kernel_size=3,
        first_kernel_size=5,
        head="logistic",
        linear_prediction=True,
    ),
    "gated-positions": lambda: GatedPixelCNN(
        levels=3, features=8, layers=3, kernel_size=3, position_waves=2
    ),
    "gated-positions-classes-and-map": lambda: GatedPixelCNN(
        channels=2,
        levels=2,
        features=16,
        layers=3,
        kernel_size=3,
        position_waves=1,
        condition=(ClassCondition(2), MapCondition(1, scale=2, levels=3, context=True)),
    ),
    "gated-orders": lambda: GatedPixelCNN(
        levels=3, features=8, layers=3, kernel_size=3, orders=2, position_waves=1
    ),
    "pixel-cnn": lambda: PixelCNN(levels=4, features=8, layers=3),
    "pixel-cnn-rgb-positions": lambda: PixelCNN(
        channels=3, levels=2, features=18, layers=2, position_waves=2
    ),
    "pixel-cnn-rgb-classes": lambda: PixelCNN(
        channels=3,
        levels=2,
        features=18,
        layers=2,
        kernel_size=5,
        condition=ClassCondition(3),
        skip=True,
    ),
    "pixel-cnn-plain-map": lambda: PixelCNN(
        levels=3,
        features=8,
        layers=2,
        residual=False,
        condition=MapCondition(2, scale=2, levels=3),
        head_features=6,
    ),
    "pixel-cnn-gated": lambda: PixelCNN(
        channels=2, levels=3, features=8, layers=2, gated=True, condition=ClassCondition(2)
    ),
    "row-lstm": lambda: RowLSTM(levels=4, features=8, layers=2),
    "row-lstm-rgb-classes": lambda: RowLSTM(
        channels=3,
        levels=2,
        features=12,
        layers=2,
        kernel_size=5,
        condition=ClassCondition(2),
        skip=True,
    ),
    "pixel-cnn-vector-and-classes": lambda: PixelCNN(
        levels=3, features=8, layers=2, condition=(VectorCondition(3), ClassCondition(2))
    ),
    "row-lstm-vector-and-map": lambda: RowLSTM(
        levels=3,
        features=8,
        layers=1,
        condition=(VectorCondition(3), MapCondition(1, scale=3, levels=None, context=True)),
    ),
    "row-lstm-plain-map": lambda: RowLSTM(
        channels=2,
        levels=3,
        features=8,
        layers=1,
        residual=False,
        condition=MapCondition(1, scale=2, levels=2),
    ),
    "row-lstm-dropout": lambda: RowLSTM(
        levels=2, features=6, layers=2, skip=True, residual=False, dropout=0.3
    ),
    "row-lstm-positions": lambda: RowLSTM(levels=3, features=6, layers=2, position_waves=1),
    "diagonal-positions-classes": lambda: DiagonalBiLSTM(
        channels=2, levels=3, features=6, layers=1, position_waves=2, condition=ClassCondition(2)
    ),
    "diagonal": lambda: DiagonalBiLSTM(levels=4, features=8, layers=2),
    "diagonal-rgb-complete": lambda: DiagonalBiLSTM(
        channels=3,
        levels=2,
        features=12,
        layers=2,
        first_kernel_size=3,
        complete_context=True,
        skip=True,
    ),
    "diagonal-complete-classes": lambda: DiagonalBiLSTM(
        levels=3,
        features=6,
        layers=1,
        kernel_size=3,
        complete_context=True,
        condition=ClassCondition(3),
    ),
    "diagonal-vector": lambda: DiagonalBiLSTM(
        levels=2, features=6, layers=2, condition=VectorCondition(3)
    ),
    "diagonal-classes-and-map": lambda: DiagonalBiLSTM(
        levels=3,
        features=6,
        layers=1,
        condition=(ClassCondition(2), MapCondition(1, scale=2, levels=2)),
    ),
    "diagonal-rgba-plain-map": lambda: DiagonalBiLSTM(
        channels=4,
        levels=2,
        features=16,
        layers=2,
        residual=False,
        condition=MapCondition(1, scale=2, levels=3),
    ),
    "multi-scale": lambda: MultiScale(
        small=RowLSTM(levels=4, features=8, layers=1),
        large=PixelCNN(
            levels=4, features=8, layers=2, condition=MapCondition(1, scale=2, levels=4)
        ),
    ),
    "multi-scale-rgb-classes": lambda: MultiScale(
        small=GatedPixelCNN(
            channels=3,
            levels=2,
            features=12,
            layers=2,
            kernel_size=5,
            condition=ClassCondition(2),
            position_waves=1,
        ),
        large=DiagonalBiLSTM(
            channels=3,
            levels=2,
            features=12,
            layers=1,
            condition=MapCondition(3, levels=2),
        ),
    ),
    "multi-scale-conditions-for-both": lambda: MultiScale(
        small=PixelCNN(
            levels=3, features=6, layers=1, condition=(ClassCondition(2), MapCondition(1, levels=2))
        ),
        large=RowLSTM(
            levels=3,
            features=6,
            layers=1,
            condition=(
                MapCondition(1, levels=3, context=True),
                ClassCondition(2),
                MapCondition(1, scale=4, levels=2),
            ),
        ),
    ),
    "multi-scale-nested": lambda: MultiScale(
        small=MultiScale(
            small=PixelCNN(levels=3, features=6, layers=1),
            large=GatedPixelCNN(
                levels=3, features=8, layers=2, kernel_size=5, condition=MapCondition(1, levels=3)
            ),
        ),
        large=RowLSTM(
            levels=3, features=8, layers=1, condition=MapCondition(1, scale=3, levels=3, features=6)
        ),
    ),
    "autoencoder": lambda: PixelCNNAutoencoder(
        decoder=GatedPixelCNN(
            levels=3, features=8, layers=3, kernel_size=3, condition=VectorCondition(4)
        ),
        size=(6, 6),
        encoder_features=4,
    ),
    "autoencoder-variational": lambda: PixelCNNAutoencoder(
        decoder=RowLSTM(channels=2, levels=2, features=6, layers=1, condition=VectorCondition(2)),
        size=(6, 6),
        encoder_features=4,
        variational=True,
        free_bits=0.1,
    ),
    "diagonal-logistic": lambda: DiagonalBiLSTM(
        channels=3, levels=4, features=7, layers=2, head="logistic", linear_prediction=True
    ),
}

# Images in which every sub-pixel is within reach of every model above, taller than wide and wider
# than tall.
SHAPES = [(4, 3), (3, 4)]

UNSEEN: dict[str, str] = {}
"""Cases that may miss some of the past on images of `SHAPES`, with the reason. None does; for more
see test_fields."""


REPEATS = frozenset(
    {
        "gated-classes",
        "gated-vector",
        "gated-positions",
        "gated-rgb-classes",
        "gated-codes",
        "gated-map",
        "pixel-cnn-rgb-positions",
        "pixel-cnn-plain-map",
        "pixel-cnn-vector-and-classes",
        "row-lstm-plain-map",
        "row-lstm-positions",
        "row-lstm-dropout",
        "diagonal-positions-classes",
        "diagonal-vector",
        "diagonal-complete-classes",
        "diagonal-rgba-plain-map",
        "multi-scale-conditions-for-both",
    }
)
"""Cases whose parts are in other cases, too."""


def over(fast: Container[str] | None = None, names: Iterable[str] = CASES) -> pytest.MarkDecorator:
    """Runs a test for each case; all but the `fast` ones, by default `REPEATS`, are slow tests."""
    quick = CASES.keys() - REPEATS if fast is None else fast
    return pytest.mark.parametrize(
        "name",
        [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names],
    )


def build(name: str, *, seed: int = 0) -> ImageModel:
    """A case in float64 and evaluation mode; conditions matter from the start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CASES[name]().double().eval()
        for parameter in model.parameters():
            if not parameter.detach().any():
                torch.nn.init.normal_(parameter, std=0.3)
    return model


def trained(name: str, *, steps: int = 20) -> ImageModel:
    """A case after a few steps on random images: weights have moved, and masks must still hold."""
    return copy.deepcopy(_trained(name, steps))


@cache
def _trained(name: str, steps: int) -> ImageModel:
    model = build(name).train()
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(2)
        for _ in range(steps):
            x = images(model, 8, (4, 4), generator)
            loss = -model(x, conditions(model, 8, (4, 4))).log_prob(x).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


def images(
    model: ImageModel, n: int, shape: tuple[int, int], generator: torch.Generator | None = None
) -> Tensor:
    """Random images for a model."""
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    return torch.randint(model.levels, (n, model.channels, *shape), generator=generator)


def conditions(model: ImageModel, n: int, shape: tuple[int, int]) -> Values:
    """Values of a model's conditions for n images of a size; classes take turns."""
    drawn = list(random_values(model.conditions, n, shape, torch.Generator().manual_seed(3)))
    for place, part in of_kind(model.conditions, ClassCondition).items():
        drawn[place] = torch.arange(n) % part.classes
    return tuple(drawn)
