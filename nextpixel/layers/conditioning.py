"""Conditions as a bias of every layer.

Conditional Image Generation with PixelCNN Decoders, section 2.3, computes y = tanh(W_f ∗ x + V_f h)
⊙ σ(W_g ∗ x + V_g h). With a one-hot h this is a class-dependent bias in every layer, the same at
every pixel. A deconvolutional network turns an image of any resolution into a map s of the image's
size, which adds V ∗ s, V an unmasked 1×1 convolution, as in Multi-Scale PixelRNN (Pixel Recurrent
Neural Networks, section 3.6). The position of a pixel in the image is such a map, too.
"""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.conditions.kinds import Condition, MapCondition, of_kind
from nextpixel.conditions.values import Values
from nextpixel.front.place import Front, colour_blocks
from nextpixel.layers.arithmetic import Arithmetic, rounded, value
from nextpixel.layers.constants import constant
from nextpixel.layers.layout import Conv2d
from nextpixel.layers.upsampling import Upsampling
from nextpixel.orders import Order, counts_of

__all__ = ["ConditionBias", "ConditionEncoder", "Encoded", "Widths"]


_LEAST_SPREAD = 1e-30


class Encoded(NamedTuple):
    """What biases all layers: vector (B, V), maps (B, M, H, W), and positions (1 or B, P, H, W)."""

    vector: Tensor | None
    maps: Tensor | None
    positions: Tensor | None

    def part(self, rows: range, columns: range) -> "Encoded":
        """For some rows and columns of the image."""

        def cut(maps: Tensor | None) -> Tensor | None:
            if maps is None:
                return None
            return maps[:, :, rows.start : rows.stop, columns.start : columns.stop]

        return Encoded(self.vector, cut(self.maps), cut(self.positions))

    def replace(self, places: Tensor, sources: Tensor) -> None:
        """Puts the maps of some images in the places of others."""
        if self.maps is not None:
            self.maps[places] = self.maps[sources]


class Widths(NamedTuple):
    """The widths V, M and P of `Encoded`."""

    vector: int
    maps: int
    positions: int


class ConditionEncoder(nn.Module):
    """Turns the values of a batch into what all layers see; what is unknown becomes zeros.

    Classes become one-hot; vectors are standardised and followed by a one, which says that they are
    known. The papers leave the deconvolutional network m(h) of maps open. Here: a 3×3 convolution,
    then for each prime factor of the scale a ReLU and a transposed convolution with that stride.
    So a pixel sees few pixels of the map, around its own place; with `MapCondition.context`, a
    pyramid (`Context`) after the first convolution shows it all of them.

    Args:
        conditions: what the model is conditioned on.
        position_waves: K: a position is encoded by cos(πiy)·cos(πjx) for i, j = 0 … K without the
            constant; (x, y) is the middle of the pixel in the unit square, whatever the size of the
            image.
        orders: to which images may be turned. If there are several, the last condition is the
            number of the order, less one, and a position is that before turning.
    """

    offset: Tensor
    factor: Tensor
    arithmetic: Arithmetic | None = None

    def __init__(
        self,
        conditions: tuple[Condition, ...],
        position_waves: int,
        orders: tuple[Order, ...] = (Order(),),
    ) -> None:
        super().__init__()
        self.conditions, self.position_waves, self.orders = conditions, position_waves, orders
        # Orders of colours follow those of pixels, and leave positions as they are.
        self._squares = orders[: counts_of(orders)[0]]
        maps = of_kind(conditions, MapCondition).values()
        self.upsampling = nn.ModuleList(Upsampling(part) for part in maps)
        width = sum(part.standardised for part in conditions)
        # They also tell the precision of the parameters, so they exist even without vectors.
        self.register_buffer("offset", torch.empty(width))
        self.register_buffer("factor", torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Vectors as they are: see `standardise`."""
        self.offset.zero_()
        self.factor.fill_(1)

    @property
    def widths(self) -> Widths:
        """The widths of the output."""
        vector = sum(part.width for part in self.conditions if not part.per_pixel)
        maps = sum(part.width for part in self.conditions if part.per_pixel)
        return Widths(vector, maps, (self.position_waves + 1) ** 2 - 1)

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        waves = [f"position_waves={self.position_waves}"] if self.position_waves else []
        return ", ".join([part.describe() for part in self.conditions] + waves)

    def standardise(self, vectors: Tensor) -> None:
        """Sets offset and factor so that these vectors, (N, total size), get mean 0 and variance 1.

        An encoder without vectors is left as it is, and so is one that is standardised already,
        because weights that were trained with it rely on it.
        """
        if not len(self.offset) or self.offset.any() or (self.factor != 1).any():
            return
        # Not every device has float64.
        vectors = vectors[vectors.isfinite().all(dim=1)].cpu().double()
        if len(vectors):
            deviation = vectors.std(dim=0, correction=0)
            # What is constant has a deviation by rounding; single precision has no 1 / 1e-40.
            spread = vectors.amax(dim=0) - vectors.amin(dim=0)
            self.offset.copy_(vectors.mean(dim=0))
            self.factor.copy_(torch.where(spread > _LEAST_SPREAD, 1 / deviation, 1))

    def forward(self, values: Values, height: int, width: int) -> Encoded:
        """The values of a batch, encoded for images of a size."""
        vectors, maps, begin = [], [], 0
        upsampling, dtype = iter(self.upsampling), self.offset.dtype
        for part, given in zip(self.conditions, values, strict=True):
            known, features = part.known(given), part.features_of(given, dtype)
            if part.per_pixel:
                features = next(upsampling)(value(self.arithmetic, features))
                features = features[:, :, :height, :width]
                maps.append(torch.where(known[:, None, None, None], features, 0))
                continue
            end = begin + part.standardised
            real, rest = features[:, : part.standardised], features[:, part.standardised :]
            centred = (real - self.offset[begin:end]) * self.factor[begin:end]
            centred = value(self.arithmetic, centred)
            vectors.append(torch.where(known[:, None], torch.cat([centred, rest], dim=1), 0))
            begin = end
        waves, device, positions = self.position_waves, self.offset.device, None
        if waves:
            locate = _positions if self.arithmetic is None else self.arithmetic.positions
            positions = locate(waves, height, width, device, dtype)
            if len(self.orders) > 1:
                places, signs = _turned_waves(waves, self._squares, device)
                square = (values[-1].long() + 1) % len(self._squares)
                signed = signs[square][:, :, None, None].to(dtype)
                positions = positions[0][places[square]] * signed
        return Encoded(
            torch.cat(vectors, dim=1) if vectors else None,
            torch.cat(maps, dim=1) if maps else None,
            positions,
        )


class ConditionBias(nn.Module):
    """V·h + V ∗ s: what a layer adds to its pre-activation.

    It is small at first, so that training starts almost unconditionally.

    Args:
        widths: of the output of the encoder, see `ConditionEncoder.widths`.
        features: how many feature maps to bias.
    """

    arithmetic: Arithmetic | None = None

    def __init__(self, widths: Widths, features: int) -> None:
        super().__init__()
        self.widths, self.features = widths, features
        self.of_vector = nn.Linear(widths.vector, features, bias=False) if widths.vector else None
        self.of_maps = Conv2d(widths.maps, features, 1, bias=False) if widths.maps else None
        self.of_positions = (
            Conv2d(widths.positions, features, 1, bias=False) if widths.positions else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random weights."""
        for layer in (self.of_vector, self.of_maps, self.of_positions):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.05)

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        given = ", ".join(f"{name}={width}" for name, width in self.widths._asdict().items())
        return f"{given}, features={self.features}"

    def forward(self, encoded: Encoded, rows: range | None = None) -> Tensor:
        """The bias, (B, features, 1, 1); with maps or positions (B, features, rows, W).

        B is 1 if there are only positions, and all images share them.
        """
        biases: list[Tensor] = []
        if self.of_vector is not None:
            biases.append(self.of_vector(encoded.vector)[:, :, None, None])
        for layer, maps in ((self.of_maps, encoded.maps), (self.of_positions, encoded.positions)):
            if layer is not None:
                assert maps is not None
                biases.append(layer(maps if rows is None else maps[:, :, rows.start : rows.stop]))
        return rounded(self.arithmetic, sum(biases[1:], biases[0]))

    def at_front(self, encoded: Encoded, front: Front, colours: int) -> Tensor:
        """The bias of the pixels that are `front.ahead`, (lanes, features), colour by colour."""
        return front.once((self, "bias"), lambda: self._at_front(encoded, front, colours))

    def _at_front(self, encoded: Encoded, front: Front, colours: int) -> Tensor:
        start, weights = front.state(self, lambda: self._front_state(encoded, front, colours))
        for name, weight in weights.items():
            maps = encoded.maps if name == "maps" else encoded.positions
            assert maps is not None
            y = front.empty((self, name), weight.shape[1])
            front.run(torch.addmm, start, front.look_up(name, maps), weight, out=y)
            start = y
        return rounded(self.arithmetic, start, front) if weights else start

    def _front_state(
        self, encoded: Encoded, front: Front, colours: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is the same for all pixels, (lanes, features), and matrices for what is not."""
        like = next(self.parameters())
        order, weights = colour_blocks(len(like), colours, like.device), {}
        for name, layer in (("maps", self.of_maps), ("positions", self.of_positions)):
            if layer is not None:
                weight, _ = front.folded(self, layer.weight.detach(), None)
                weights[name] = front.matrix(weight[order, :, 0, 0].T)
        if self.of_vector is None:
            return like.new_zeros(front.lanes, len(order)), weights
        assert encoded.vector is not None
        weight, _ = front.folded(self, self.of_vector.weight.detach(), None)
        constant = functional.linear(encoded.vector, weight[order])
        if not weights:
            constant = rounded(self.arithmetic, constant)
        return constant.repeat(front.skew.slots, 1), weights


@constant
def _positions(
    waves: int, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The position of each pixel, (1, (waves + 1)² - 1, H, W)."""
    count = partial(torch.arange, dtype=torch.float64, device="cpu")
    orders = count(waves + 1)[:, None]
    of_rows, of_columns = (
        torch.cos(math.pi * orders * (count(side) + 0.5) / side) for side in (height, width)
    )
    products = of_rows[:, None, :, None] * of_columns[None, :, None, :]
    return products.flatten(0, 1)[None, 1:].to(dtype).to(device)


@constant
def _turned_waves(
    waves: int, orders: tuple[Order, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Which wave in a turned image each wave of the image is, and its sign: (squares, P) each.

    As cos(πi(1 - y)) = (-1)^i cos(πiy), turning only permutes waves and changes their signs.
    """
    count = torch.arange(waves + 1, device="cpu")
    i, j = torch.meshgrid(count, count, indexing="ij")
    places, signs = [], []
    for order in orders:
        first, second = (j, i) if order.transpose else (i, j)
        places.append((first * (waves + 1) + second).flatten()[1:] - 1)
        odd = (i * order.flip_rows + j * order.flip_columns) % 2
        signs.append(1 - 2 * odd.flatten()[1:])
    return torch.stack(places).to(device), torch.stack(signs).to(device)
