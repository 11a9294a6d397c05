"""How what an image is conditioned on becomes a bias of every layer.

Conditional Image Generation with PixelCNN Decoders, section 2.3: y = tanh(W_f ∗ x + V_f h) ⊙ σ(W_g
∗ x + V_g h). With a one-hot h this is a class-dependent bias in every layer, the same at every
pixel. A map s of the image's size, made of an image of any resolution by a deconvolutional network,
adds V ∗ s instead, V an unmasked 1×1 convolution, as in Multi-Scale PixelRNN (Pixel Recurrent
Neural Networks, section 3.6). Where in the image a pixel is is such a map, too.
"""

import math
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.conditions import (
    ClassCondition,
    Conditions,
    MapCondition,
    Values,
    VectorCondition,
    known,
    parts_of,
    tuple_of,
)

__all__ = ["ConditionBias", "ConditionEncoder", "Encoded", "Widths"]


class Encoded(NamedTuple):
    """What biases all layers: a vector (B, V), maps of the image's size (B, M, H, W), positions (1,
    P, H, W).
    """

    vector: Tensor | None
    maps: Tensor | None
    positions: Tensor | None


class Widths(NamedTuple):
    """V, M and P of what biases all layers."""

    vector: int
    maps: int
    positions: int


class ConditionEncoder(nn.Module):
    """Brings conditions to what all layers see; what is unknown becomes zeros.

    Classes become one-hot; vectors are standardised and followed by a one, which says that they are
    known. The papers leave the deconvolutional network m(h) of maps open. Here: a 3×3 convolution,
    then for each prime factor of the scale a transposed convolution with that stride, ReLUs
    between.

    Args:
        condition: what the model is conditioned on, or None.
        position_waves: K: positions are told by cos(πiy)·cos(πjx) for i, j = 0 … K, the constant
            left out, with the middle of a pixel at (x, y) in the unit square, whatever the size of
            the image.
    """

    offset: Tensor
    factor: Tensor

    def __init__(self, condition: Conditions | None, position_waves: int) -> None:
        super().__init__()
        self.parts, self.position_waves = parts_of(condition), position_waves
        self.upsampling = nn.ModuleList(
            _upsampling(part) for part in self.parts if isinstance(part, MapCondition)
        )
        width = sum(part.size for part in self.parts if isinstance(part, VectorCondition))
        # The parameters' precision is that of what is encoded, also where there are none.
        self.register_buffer("offset", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    @property
    def widths(self) -> Widths:
        """Of what comes out."""
        vector = sum(
            part.classes if isinstance(part, ClassCondition) else part.size + 1
            for part in self.parts
            if not isinstance(part, MapCondition)
        )
        maps = sum(part.features for part in self.parts if isinstance(part, MapCondition))
        return Widths(vector, maps, (self.position_waves + 1) ** 2 - 1)

    def standardise(self, vectors: Tensor) -> None:
        """Sets the scale of the vectors (N, total size) that are encoded: mean 0 and variance 1 for
        these.
        """
        vectors = (
            vectors[vectors.isfinite().all(dim=1)].cpu().double()
        )  # not every device has float64
        if len(vectors):
            deviation = vectors.std(dim=0, correction=0)
            self.offset.copy_(vectors.mean(dim=0))
            self.factor.copy_(torch.where(deviation > 0, 1 / deviation, 1))

    def forward(self, values: Values | None, height: int, width: int) -> Encoded:
        """Conditions of a batch, encoded for images of a size."""
        tensors = tuple_of(values)
        vectors, maps, begin = [], [], 0
        upsampling = iter(self.upsampling)
        for part, value in zip(self.parts, tensors, strict=True):
            if isinstance(part, ClassCondition):
                one_hot = functional.one_hot(value.long() + 1, part.classes + 1)[:, 1:]
                vectors.append(one_hot.to(self.offset.dtype))
            elif isinstance(part, VectorCondition):
                end = begin + part.size
                there = value.isfinite().all(dim=1, keepdim=True)
                centred = (value.to(self.offset.dtype) - self.offset[begin:end]) * self.factor[
                    begin:end
                ]
                vectors += [torch.where(there, centred, 0), there.to(self.offset.dtype)]
                begin = end
            else:
                there = known(part, value)[:, None, None, None]
                enlarged = next(upsampling)(_centred(part, value, self.offset.dtype))[
                    :, :, :height, :width
                ]
                maps.append(torch.where(there, enlarged, 0))
        return Encoded(
            torch.cat(vectors, dim=1) if vectors else None,
            torch.cat(maps, dim=1) if maps else None,
            (
                _positions(
                    self.position_waves, height, width, self.offset.device, self.offset.dtype
                )
                if self.position_waves
                else None
            ),
        )


class ConditionBias(nn.Module):
    """V·h + V ∗ s: what a layer adds to its pre-activation. Small at first: training starts almost
    unconditionally.

    Args:
        widths: of what the model is conditioned on, see `ConditionEncoder.widths`.
        features: how many feature maps to bias.
    """

    def __init__(self, widths: Widths, features: int) -> None:
        super().__init__()
        self.of_vector = nn.Linear(widths.vector, features, bias=False) if widths.vector else None
        self.of_maps = nn.Conv2d(widths.maps, features, 1, bias=False) if widths.maps else None
        self.of_positions = (
            nn.Conv2d(widths.positions, features, 1, bias=False) if widths.positions else None
        )
        for layer in (self.of_vector, self.of_maps, self.of_positions):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.05)

    def forward(self, encoded: Encoded, rows: range | None = None) -> Tensor:
        """What `ConditionEncoder` gave to (B, features, 1, 1), with maps or positions to (B,
        features, rows, W).

        B is 1 if there are only positions, which all images share.
        """
        biases: list[Tensor] = []
        if self.of_vector is not None:
            biases.append(self.of_vector(encoded.vector)[:, :, None, None])
        for layer, maps in ((self.of_maps, encoded.maps), (self.of_positions, encoded.positions)):
            if layer is not None:
                assert maps is not None
                biases.append(layer(maps if rows is None else maps[:, :, rows.start : rows.stop]))
        return sum(biases[1:], biases[0])


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what a walk has made serves training, too
def _positions(
    waves: int, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Where each pixel is, (1, (waves + 1)² - 1, H, W)."""
    count = partial(torch.arange, dtype=torch.float64, device="cpu")
    orders = count(waves + 1)[:, None]
    of_rows, of_columns = (
        torch.cos(math.pi * orders * (count(side) + 0.5) / side) for side in (height, width)
    )
    products = of_rows[:, None, :, None] * of_columns[None, :, None, :]
    return products.flatten(0, 1)[None, 1:].to(dtype).to(device)


def _upsampling(condition: MapCondition) -> nn.Sequential:
    features = condition.features
    inputs = (
        condition.maps * condition.levels
        if condition.categorical and condition.levels
        else condition.maps
    )
    layers: list[nn.Module] = [nn.Conv2d(inputs, features, 3, padding=1)]
    for factor in _prime_factors(condition.scale):
        # Overlapping by half a stride, in the middle of what it covers.
        kernel, padding = 2 * factor - factor % 2, factor // 2
        layers += [
            nn.ReLU(),
            nn.ConvTranspose2d(features, features, kernel, stride=factor, padding=padding),
        ]
    return nn.Sequential(*layers)


def _centred(condition: MapCondition, value: Tensor, dtype: torch.dtype) -> Tensor:
    """A map as its network takes it: reals as they are, amounts on [-1, 1], names one-hot."""
    if condition.levels is None:
        return value.to(dtype).nan_to_num()
    if condition.categorical:
        one_hot = functional.one_hot(value.long().clamp(min=0), condition.levels)
        return one_hot.movedim(-1, 2).flatten(1, 2).to(dtype)
    return value.to(dtype) * (2 / (condition.levels - 1)) - 1


def _prime_factors(number: int) -> list[int]:
    """2, 2, 3 for 12."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
