"""The contract that every model of images fulfils.

A model is the conditional distribution of the next sub-pixel: p(x) = Π p(x_i | x_<i) over
sub-pixels in raster order, row by row, pixel by pixel, colour by colour (Pixel Recurrent Neural
Networks, sections 2.1 and 2.2). Training, scoring, sampling and completing are functions that call
it; models have no such methods.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextpixel.cache import Cache
from nextpixel.conditions.kinds import Condition, MapCondition, of_kind
from nextpixel.conditions.notation import as_conditions, conditions_to_json
from nextpixel.conditions.told import OrderCondition
from nextpixel.conditions.values import Values, ValuesLike, as_values, check_shapes, unknown
from nextpixel.front.place import beside, total
from nextpixel.front.skew import Reach
from nextpixel.layers.conditioning import ConditionEncoder, Encoded, Widths
from nextpixel.layers.distributions import Distribution
from nextpixel.layers.head import Head
from nextpixel.layers.heads import COMPONENTS, HEADS
from nextpixel.layers.inputs import CategoricalInput, ImageInput, OrdinalInput
from nextpixel.layers.integers import check_images
from nextpixel.layers.linear_prediction import LinearPrediction
from nextpixel.models.trainable import EXACT, Figure, Trainable
from nextpixel.orders import ORDERS, Order, counts_of, orders_of
from nextpixel.settings.networks import NetworkSettings

__all__ = [
    "BYTES_PER_PASS",
    "AutoregressiveModel",
    "ImageModel",
    "RasterModel",
    "Scale",
    "rows_per_pass",
]


class Scale(NamedTuple):
    """A part of a model that goes through its pixels in raster order.

    `network` is the distribution of the pixels in every `step`-th row and column; 1 is the whole
    image. `coarser` is the step of the scale before it, whose pixels condition this one and are not
    counted again; None for the first.
    """

    network: "RasterModel"
    step: int
    coarser: int | None

    def given(self, x: Tensor, values: Values) -> Values:
        """The values of this scale's conditions, of whole images x and the whole model's values."""
        if self.coarser is None:
            return values
        small = x[:, :, :: self.coarser, :: self.coarser]
        if len(self.network.conditions) > 1:
            return small, *values
        return small, *values[len(values) - len(self.network.told) :]

    def counts(self, row: int, column: int) -> bool:
        """Whether a pixel, by its row and column in this scale, is not one of the scale before."""
        return self.coarser is None or bool(
            row * self.step % self.coarser or column * self.step % self.coarser
        )


class ImageModel(Trainable):
    """A distribution over images (B, C, H, W) of integers 0 … levels-1, of any height and width.

    Args:
        channels: number of colours C.
        levels: number of values of a sub-pixel.
        orders: in which the model goes through images, see `orders.orders_of`.

    Attributes:
        channels, levels, orders: as given.
        conditions: what the distribution is conditioned on; () for nothing.
        told: what a model of several orders is told beside its conditions, as their last value: the
            order, see `turning.turned`; () for a model of one order.
    """

    told: tuple[Condition, ...]

    def __init__(
        self, *, channels: int, levels: int, orders: tuple[Order, ...] = ORDERS[:1]
    ) -> None:
        super().__init__()
        self.channels, self.levels, self.orders = channels, levels, orders
        self.told = (OrderCondition(*counts_of(orders)),) if len(orders) > 1 else ()

    @abstractmethod
    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel of x given those before it."""

    @abstractmethod
    def scales(self) -> Iterator[Scale]:
        """The parts of the model, in the order in which they go through an image."""

    @property
    def figure(self) -> Figure:
        """The exact likelihood."""
        return EXACT

    @property
    def given_by_data(self) -> tuple[Condition, ...]:
        """All conditions."""
        return self.conditions

    def infer(self, x: Tensor, values: Values) -> Values:  # noqa: ARG002
        """The values that the data gives."""
        return values

    def with_told(self, x: Tensor, values: Values) -> Values:
        """Values that say that images are in the first order, unless they say in which."""
        if len(values) > len(self.conditions):
            return values
        first = unknown(self.told, x.shape[0], (x.shape[2], x.shape[3]))
        return (*values, *(value.to(x.device) for value in first))

    def check(self, x: Tensor, condition: ValuesLike) -> None:
        """Raises if x or the condition has a wrong type or shape. It reads no values.

        Raises:
            TypeError: x does not hold integers, or the condition no tensors.
            UsageError: a shape does not fit.
        """
        check_images(x, self.channels, self.levels)
        values, size = as_values(condition), (x.shape[2], x.shape[3])
        told = self.told if len(values) > len(self.conditions) else ()
        check_shapes((*self.conditions, *told), values, x.shape[0], size)


class RasterModel(ImageModel):
    """A model of one scale, which goes through the sub-pixels of an image in raster order.

    Attributes:
        colours: how many colours of a pixel are predicted one after another.
        encoder: of what biases every layer, or None.
        steps_are_passes: whether every step of a walk is a full pass over whole images.
    """

    colours: int
    encoder: ConditionEncoder | None
    steps_are_passes = False

    @property
    @abstractmethod
    def reach(self) -> Reach:
        """How far the layers see."""

    @property
    @abstractmethod
    def floats_per_pixel(self) -> int:
        """How many numbers a pass over rows holds at once for each pixel."""

    def scales(self) -> Iterator[Scale]:
        """Itself."""
        yield Scale(self, 1, None)


Run = Callable[..., Any]
"""Calls a function with arguments: how one layer's part of a pass is computed."""


class AutoregressiveModel(RasterModel):
    """A model whose layers keep what later steps of a walk look at: see `nextpixel.cache`.

    It is composed of three parts::

        image ─► input ─► layers ─► head ─► distribution of every sub-pixel
                            ▲
        condition ─► encoder┘

    The input turns pixels into features (`layers.inputs`). The layers are the model's own. The head
    turns the last features into a distribution (`layers.head`). A pass, over all of an image, some
    rows or a front of sites, is this `forward` and nothing else.

    The modules stand side by side in the model, under the names that are in its checkpoints.

    Args:
        settings: the keywords of the model, checked and complete.
        layers: makes the layers, by name, from the number of the input's maps and the widths of
            what biases every layer, or None.

    Attributes:
        settings: as given.
        conditions: what the distribution is conditioned on; () for nothing.
        values: the input.
        encoder: of what biases every layer, or None.
        colours: how many colours of a pixel are predicted one after another.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        layers: Callable[[int, Widths | None], dict[str, nn.Module]],
    ) -> None:
        orders = orders_of(settings.channels, settings.orders, settings.colour_orders)
        super().__init__(channels=settings.channels, levels=settings.levels, orders=orders)
        self.settings, self.colours = settings, settings.colours
        self.conditions = as_conditions(settings.condition)
        self.values, waves = _input(settings), settings.position_waves
        seen = *self.conditions, *self.told
        encoded = bool(seen) or waves > 0
        self.encoder = ConditionEncoder(seen, waves, orders) if encoded else None
        widths = None if self.encoder is None else self.encoder.widths
        for name, layer in layers(self.values.maps, widths).items():
            self.add_module(name, layer)
        assert settings.head is not None and settings.head_features is not None
        self._head = Head(settings.head, self.channels, self.levels, self.colours)
        self.head_hidden, self.head_out = self._head.layers(settings.maps, settings.head_features)
        self.prediction = _prediction(settings)

    @abstractmethod
    def features(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> tuple[Tensor, Tensor | None]:
        """The layers' part of a pass: at a front or over rows.

        Args:
            x: integers (B, C, H, W), to be read through `self.values`.
            condition: what biases every layer.
            cache: where the pass is.
            run: calls each layer.

        Returns:
            The last layer's maps, and the sum of what skips it, or None.
        """

    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel of x given its past.

        Args:
            x: integers (B, C, H, W).
            condition: a value of each condition for each image: for classes integers (B,), for
                vectors floats (B, size), for maps (B, maps, ⌈H / scale⌉, ⌈W / scale⌉); one tensor,
                or a tuple. Classes of -1, vectors of NaN and maps of -1 or NaN are unknown. Of
                images that are turned to another order, a last value says to which one: see
                `turning.turned`.
            cache: None for all sites in one pass. Otherwise the result covers only the place where
                the cache is, while x is still the whole image, of which nothing later than that
                place is read.
        """
        if cache is None:
            self.check(x, condition)
            x = self.values.inside(x)
        encoded: Encoded | None = None
        if self.encoder is not None:  # once in a walk
            values = self.with_told(x, as_values(condition))
            encode = partial(self.encoder, values, x.shape[2], x.shape[3])
            encoded = encode() if cache is None else cache.state(self.encoder, encode)
        again = self.recompute and self.training and torch.is_grad_enabled()
        run = _recomputed if again else _called
        front = None if cache is None else cache.front
        outputs = partial(self._outputs, x, encoded, cache, run)
        if front is not None:
            lasting = HEADS[self._head.name].lasting
            return front.first(outputs, self._head.distribution, lasting=lasting)
        distribution = self._head.distribution(outputs())
        if cache is None:
            distribution.given = tuple(zip(self.conditions, as_values(condition), strict=False))
        return distribution

    def _outputs(
        self, x: Tensor, condition: Encoded | None, cache: Cache | None, run: Run
    ) -> Tensor:
        y, skips = self.features(x, condition, cache, run)
        if skips is not None:
            y = total(y, skips, None if cache is None else cache.front, self)
        outputs = self._head.outputs((self.head_hidden, self.head_out), y, cache)
        if self.prediction is None:
            return outputs
        predictions = self.prediction(self.values, x, cache)
        return beside(outputs, predictions, None if cache is None else cache.front, self)

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        keywords = {
            field.name: getattr(self.settings, field.name) for field in fields(self.settings)
        }
        return keywords | {"condition": conditions_to_json(self.conditions)}

    @property
    def floats_per_pixel(self) -> int:
        """The widest maps, all that biases the layers, and three copies of the outputs."""
        settings, maps = self.settings, of_kind(self.conditions, MapCondition).values()
        one_hot = sum(3 * part.maps * (part.levels or 0) // part.scale**2 for part in maps)
        widths = self.encoder.widths if self.encoder is not None else None
        biases = 0 if widths is None else 3 * (widths.maps + widths.positions) + 2 * settings.maps
        outputs = self.head_out.weight.shape[0]
        return max(settings.maps_at_once + one_hot + biases, settings.maps + 3 * outputs)

    def extra_repr(self) -> str:
        """The keywords of the model that are not None."""
        given = {field.name: getattr(self.settings, field.name) for field in fields(self.settings)}
        return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)


def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _recomputed(function: Callable[..., Any], *arguments: Any) -> Any:
    """Keeps only the inputs of a layer for the backward pass, which computes its maps again."""
    return checkpoint(function, *arguments, use_reentrant=False)


def _input(settings: NetworkSettings) -> ImageInput:
    shared = {
        "channels": settings.channels,
        "levels": settings.levels,
        "colours": settings.colours,
    }
    if settings.value_features is None:
        return OrdinalInput(**shared)
    return CategoricalInput(**shared, features=settings.value_features)


def _prediction(settings: NetworkSettings) -> LinearPrediction | None:
    if not settings.linear_prediction:
        return None
    side: int = vars(settings)["first_kernel_size"]  # every network has a first kernel
    return LinearPrediction(settings.channels, COMPONENTS, side)


BYTES_PER_PASS = 1 << 29
"""What a pass may hold at once. Smaller passes are slower only below a tenth of it."""


def rows_per_pass(
    model: RasterModel, batch: int, width: int, most_bytes: int = BYTES_PER_PASS
) -> int:
    """How many rows of a batch can be computed at once in so much memory; at least one."""
    bytes_per_row = batch * width * model.floats_per_pixel * model.dtype.itemsize
    return max(1, most_bytes // bytes_per_row)
