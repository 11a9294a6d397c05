"""What an image is conditioned on, and how that becomes a bias of every layer.

Conditional Image Generation with PixelCNN Decoders, section 2.3: y = tanh(W_f ∗ x + V_f h) ⊙ σ(W_g ∗ x + V_g h). With a
one-hot h this is a class-dependent bias in every layer, the same at every pixel. A map s of the image's size, made of
an image of lower resolution by a deconvolutional network, adds V ∗ s instead, V an unmasked 1×1 convolution, as in
Multi-Scale PixelRNN (Pixel Recurrent Neural Networks, section 3.6).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "ClassCondition",
    "Condition",
    "ConditionBias",
    "ConditionEncoder",
    "MapCondition",
    "check_condition",
    "condition_shape",
    "one_each",
    "parse_condition",
]


@dataclass(frozen=True)
class ClassCondition:
    """A condition that is one of several classes, given as integers 0 … classes-1 of shape (B,)."""

    classes: int

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"classes (={self.classes}) must be at least 1")


@dataclass(frozen=True)
class MapCondition:
    """A condition that is an image of lower resolution, given as integers (B, maps, ⌈H / scale⌉, ⌈W / scale⌉).

    Attributes:
        maps: its channels.
        scale: how many times fewer rows and columns it has than the image that is conditioned on it.
        levels: its values are 0 … levels-1.
        features: channels of the full-size map that the layers see.
    """

    maps: int
    scale: int = 2
    levels: int = 256
    features: int = 32

    def __post_init__(self) -> None:
        for name, least in (("maps", 1), ("scale", 1), ("levels", 2), ("features", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} (={getattr(self, name)}) must be at least {least}")


Condition = ClassCondition | MapCondition


class ConditionEncoder(nn.Module):
    """What all layers of a model see of the condition: classes as they are, a map brought to the image's size.

    The papers leave the deconvolutional network open. Here: a 3×3 convolution, then for each prime factor of the scale
    a transposed convolution with that stride, ReLUs between.
    """

    def __init__(self, condition: Condition) -> None:
        super().__init__()
        self.condition = condition
        self.upsampling = nn.Sequential()
        if isinstance(condition, MapCondition):
            features = condition.features
            self.upsampling.append(nn.Conv2d(condition.maps, features, 3, padding=1))
            for factor in _prime_factors(condition.scale):
                self.upsampling.append(nn.ReLU())
                # Overlapping by half a stride, in the middle of what it covers.
                kernel, padding = 2 * factor - factor % 2, factor // 2
                self.upsampling.append(nn.ConvTranspose2d(features, features, kernel, stride=factor, padding=padding))

    def forward(self, condition: Tensor, height: int, width: int) -> Tensor:
        """Classes (B,) as they are; a map as (B, features, H, W)."""
        if isinstance(self.condition, ClassCondition):
            return condition
        dtype = next(self.upsampling.parameters()).dtype
        centred = condition.to(dtype) * (2 / (self.condition.levels - 1)) - 1
        return self.upsampling(centred)[:, :, :height, :width]  # type: ignore[no-any-return]


class ConditionBias(nn.Module):
    """V·h, or V ∗ s: what a layer adds to its pre-activation. Small at first: training starts almost unconditionally.

    Args:
        condition: what the model is conditioned on.
        features: how many feature maps to bias.
    """

    def __init__(self, condition: Condition, features: int) -> None:
        super().__init__()
        self.bias: nn.Embedding | nn.Conv2d
        if isinstance(condition, ClassCondition):
            self.bias = nn.Embedding(condition.classes, features)
        else:
            self.bias = nn.Conv2d(condition.features, features, 1, bias=False)
        nn.init.normal_(self.bias.weight, std=0.05)

    def forward(self, encoded: Tensor, rows: range | None = None) -> Tensor:
        """What `ConditionEncoder` gave to (B, features, 1, 1), or for a map to (B, features, rows, W)."""
        if isinstance(self.bias, nn.Embedding):
            return self.bias(encoded)[:, :, None, None]  # type: ignore[no-any-return]
        return self.bias(encoded if rows is None else encoded[:, :, rows.start : rows.stop])  # type: ignore[no-any-return]


def parse_condition(condition: "Condition | dict[str, Any] | None") -> Condition | None:
    """Reads a condition back from a model's `config()`, where it is a dict such as {"classes": 10}."""
    if condition is None or isinstance(condition, Condition):
        return condition
    if isinstance(condition, dict):
        for kind in (ClassCondition, MapCondition):
            if condition.keys() == kind.__dataclass_fields__.keys():
                return kind(**condition)
        raise ValueError(f"condition (={condition}) must be of the form {{'classes': 10}}")
    raise TypeError(f"condition (={condition!r}) must be None or a ClassCondition, such as ClassCondition(10)")


def condition_shape(condition: Condition, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of the conditions of a batch of images of a size (H, W)."""
    if isinstance(condition, ClassCondition):
        return (batch,)
    return (batch, condition.maps, *(-(-side // condition.scale) for side in size))


def check_condition(expected: Condition | None, received: Tensor | None, batch: int, size: tuple[int, int]) -> None:
    """Raises unless `received` is what `expected` describes, for a batch of images of a size (H, W)."""
    if expected is None:
        if received is not None:
            raise ValueError("this model is unconditional, but a condition was given; leave condition=None")
        return
    shape = condition_shape(expected, batch, size)
    if isinstance(expected, ClassCondition):
        what = f"the classes 0 … {expected.classes - 1} as an integer tensor of shape {shape}"
    else:
        what = f"images of values 0 … {expected.levels - 1} as an integer tensor of shape {shape}"
    if received is None:
        kind = "classes" if isinstance(expected, ClassCondition) else "images of lower resolution"
        raise ValueError(f"this model is conditioned on {kind}: give condition={what}")
    # Where derivatives are taken, images are reals.
    real = received.is_floating_point() and not isinstance(expected, MapCondition)
    if received.shape != shape or real or received.dtype == torch.bool:
        raise ValueError(f"condition has shape {tuple(received.shape)} and type {received.dtype}; expected {what}")


def one_each(
    expected: Condition | None, received: Tensor | None, batch: int, size: tuple[int, int], device: torch.device
) -> Tensor | None:
    """A condition for each image of a batch, on the device: a single one is repeated; types and values are checked."""
    if received is not None:
        received = received.to(device)
        axes = 3 if isinstance(expected, MapCondition) else 0
        if received.ndim == axes:
            received = received[None]
        if len(received) == 1 and batch != 1:
            received = received.expand(batch, *received.shape[1:])
    check_condition(expected, received, batch, size)
    if received is not None and received.is_floating_point():
        raise TypeError(f"condition has type {received.dtype}; give integers")
    if expected is not None and received is not None and batch:
        low, high = int(received.min()), int(received.max())
        last = (expected.classes if isinstance(expected, ClassCondition) else expected.levels) - 1
        if low < 0 or high > last:
            kind, kinds = ("class", "classes") if isinstance(expected, ClassCondition) else ("value", "values")
            wrong = low if low < 0 else high
            raise ValueError(f"condition contains {kind} {wrong}; this model knows the {kinds} 0 … {last}")
    return received


def _prime_factors(number: int) -> list[int]:
    """2, 2, 3 for 12."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
