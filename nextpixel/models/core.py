"""The contract that every model fulfils.

A model is the conditional distribution of the next sub-pixel: p(x) = Π p(x_i | x_<i) over
sub-pixels in raster order, row by row, pixel by pixel, colour by colour (Pixel Recurrent Neural
Networks, sections 2.1 and 2.2). Training, scoring, sampling and completing are functions that call
it; models have no such methods.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextpixel.cache import Cache, Site, raster_order
from nextpixel.condition_values import Values, ValuesLike, as_values, check_shapes
from nextpixel.conditions import Condition, ConditionLike, as_conditions, conditions_to_json
from nextpixel.layers.conditioning import ConditionEncoder, Encoded
from nextpixel.layers.heads import HEADS, Distribution
from nextpixel.layers.masked_conv import MaskedConv2d
from nextpixel.layers.masks import check_width

__all__ = [
    "AutoregressiveModel",
    "ImageModel",
    "Scale",
    "check_values",
    "evaluating",
    "rows_per_pass",
    "visiting_order",
]


class Scale(NamedTuple):
    """A part of a model that goes through its pixels in raster order.

    `network` is the distribution of the pixels in every `step`-th row and column; 1 is the whole
    image. `coarser` is the step of the scale before it, whose pixels condition this one and are not
    counted again; None for the first.
    """

    network: "AutoregressiveModel"
    step: int
    coarser: int | None

    def given(self, x: Tensor, values: Values) -> Values:
        """The values of this scale's conditions, of whole images x and the whole model's values."""
        if self.coarser is None:
            return values
        small = x[:, :, :: self.coarser, :: self.coarser]
        return (small,) if len(self.network.conditions) == 1 else (small, *values)

    def counts(self, row: int, column: int) -> bool:
        """Whether a pixel of this scale, by its row and column there, is not one of the scale
        before.
        """
        return self.coarser is None or bool(
            row * self.step % self.coarser or column * self.step % self.coarser
        )


class ImageModel(nn.Module, ABC):
    """A distribution over images (B, C, H, W) of integers 0 … levels-1, of any height and width.

    Args:
        channels: number of colours C.
        levels: number of values of a sub-pixel.

    Attributes:
        channels, levels: as given.
        conditions: what the distribution is conditioned on; () for nothing.
    """

    _minus_one: Tensor
    conditions: tuple[Condition, ...]
    recompute: bool = False
    """Whether training computes each layer's maps again in the backward pass, instead of keeping
    them all."""

    def __init__(self, *, channels: int, levels: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels (={channels}) must be at least 1")
        if levels < 2:
            raise ValueError(f"levels (={levels}) must be at least 2")
        self.channels, self.levels = channels, levels
        self.register_buffer("_minus_one", torch.tensor(-1.0), persistent=False)

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The keywords that rebuild the model, as plain JSON values:
        `type(model)(**model.config())`.
        """

    @abstractmethod
    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel of x given those before it."""

    @abstractmethod
    def scales(self) -> Iterator[Scale]:
        """The parts of the model, in the order in which they go through an image."""

    @property
    def given_by_data(self) -> tuple[Condition, ...]:
        """The conditions whose values a data set must give: all; of an auto-encoder none."""
        return self.conditions

    def infer(self, x: Tensor, values: Values) -> Values:  # noqa: ARG002
        """The values of all conditions for images x: those of the data; an auto-encoder encodes x."""
        return values

    @property
    def values_are_names(self) -> bool:
        """Whether values of pixels are names, such as codes, with respect to which a law has no
        derivative.
        """
        networks = (part for part in self.modules() if isinstance(part, AutoregressiveModel))
        return any(network.value_features is not None for network in networks)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self._minus_one.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the parameters."""
        return self._minus_one.dtype

    def check(self, x: Tensor, condition: ValuesLike) -> None:
        """Raises ValueError if x or the condition have a wrong shape (reads no values)."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; this model takes (B, {self.channels}, H, W)"
            )
        size = x.shape[2], x.shape[3]
        check_shapes(self.conditions, as_values(condition), x.shape[0], size)


def visiting_order(model: ImageModel, height: int, width: int) -> list[Site]:
    """All sites in the order of the model's factorisation: raster order, scale by scale."""
    return [
        Site(channel, row * scale.step, column * scale.step)
        for scale in model.scales()
        for channel, row, column in raster_order(
            model.channels, -(-height // scale.step), -(-width // scale.step)
        )
        if scale.counts(row, column)
    ]


class AutoregressiveModel(ImageModel):
    """A model that goes through the sub-pixels of an image in raster order.

    Args:
        channels: number of colours C.
        levels: number of values of a sub-pixel.
        condition: what the distribution is conditioned on, or None.
        head: "softmax", "bernoulli" or "logistic"; None takes "bernoulli" for two levels, otherwise
            "softmax".
        position_waves: how many cosine waves along each side tell every layer where in the image a
            pixel is; 0 for none, as published. For images that are aligned, such as digits: see
            `layers.conditioning`.
        value_features: None for values that are amounts, such as brightness; for values that are
            names, such as codes of a vector-quantised auto-encoder, how many learned features each
            becomes.

    Attributes:
        channels, levels, head, position_waves, value_features: as given, resolved.
        conditions: the tuple of what was given as `condition`.
        inputs: channels of an image as the first layer reads it.
        colours: how many colours of a pixel are predicted one after another: all, or 1 for a head
            that gives the joint distribution of a pixel's colours. Widths are multiples of it.
        widths: of what biases every layer, or None.
    """

    def __init__(
        self,
        *,
        channels: int,
        levels: int,
        condition: ConditionLike = None,
        head: str | None = None,
        position_waves: int = 0,
        value_features: int | None = None,
    ) -> None:
        super().__init__(channels=channels, levels=levels)
        if position_waves < 0:
            raise ValueError(
                f"position_waves (={position_waves}) must be at least 0, which is none"
            )
        if value_features is not None and value_features < 1:
            raise ValueError(
                f"value_features (={value_features}) must be at least 1, or None for amounts"
            )
        self.value_features, self.inputs = value_features, channels * (value_features or 1)
        # A table for each colour, one after another.
        self.values = (
            None if value_features is None else nn.Embedding(channels * levels, value_features)
        )
        if head is None:
            head = "bernoulli" if levels == 2 else "softmax"
        if head not in HEADS:
            raise ValueError(f"head (={head!r}) must be one of {', '.join(map(repr, HEADS))}")
        self.head = head
        self.colours = 1 if HEADS[head].at_once else channels
        self.conditions = as_conditions(condition)
        self.position_waves = position_waves
        conditioned = bool(self.conditions) or position_waves > 0
        self.encoder = ConditionEncoder(self.conditions, position_waves) if conditioned else None
        self.widths = None if self.encoder is None else self.encoder.widths

    @abstractmethod
    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel of x given its past.

        Args:
            x: integers (B, C, H, W).
            condition: a value of each condition for each image: for classes integers (B,), for
                vectors floats (B, size), for maps (B, maps, ⌈H / scale⌉, ⌈W / scale⌉); one tensor,
                or a tuple. Classes of -1, vectors of NaN and maps of -1 or NaN are unknown.
            cache: None for all sites in one pass; otherwise the result covers only the place where
                the cache is, while x is still the whole image, of which nothing later than that
                place is read.
        """

    def scales(self) -> Iterator[Scale]:
        """Itself."""
        yield Scale(self, 1, None)

    def _check_layers(self, features: int, layers: int, dropout: float) -> None:
        """Raises ValueError unless there can be so many layers of such a width, with such a
        dropout.
        """
        check_width("features", features, self.colours)
        if layers < 1:
            raise ValueError(f"layers (={layers}) must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout (={dropout}) must be at least 0 and less than 1")

    def _layer_pass(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One layer's part of a pass; with `recompute` only its inputs are kept for the backward
        pass.
        """
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def _add_head(self, maps: int, head_features: int | None) -> None:
        """Adds what follows the layers and their `maps`: ReLU–1×1–ReLU–1×1 (Pixel Recurrent Neural
        Networks, table 1).

        It is what a model adds last, as wide as the layers if `head_features` is None.
        """
        head_features = maps if head_features is None else head_features
        check_width("head_features", head_features, self.colours)
        self.head_features = head_features
        outputs = HEADS[self.head].outputs(self.channels, self.levels)
        self.head_hidden = MaskedConv2d(
            maps, head_features, 1, channels=self.colours, mask_type="B"
        )
        self.head_out = MaskedConv2d(
            head_features, outputs, 1, channels=self.colours, mask_type="B", output_blocks=True
        )
        # Weights decide the layout of the maps: with channels last, all passes over rows are
        # faster.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _head(self, y: Tensor, skips: Tensor | None, cache: Cache | None) -> Distribution:
        """The distribution at a site or over rows, from the last layer and the sum of what skips
        it.

        A mixture's locations are finer than half precision, even where the rest is computed in it.
        """
        y = self.head_hidden((y if skips is None else y + skips).relu(), cache).relu()
        if self.head == "logistic":
            with torch.autocast(y.device.type, enabled=False):
                outputs = self.head_out(y.to(self.dtype), cache)
        else:
            outputs = self.head_out(y, cache)
        if cache is not None and cache.site is not None:
            return HEADS[self.head](
                outputs[:, :, None, None], self.channels // self.colours, self.levels
            )
        return HEADS[self.head](outputs, self.channels, self.levels)

    def _core_config(self) -> dict[str, Any]:
        """The part of `config()` that all models share."""
        core = {
            "channels": self.channels,
            "levels": self.levels,
            "condition": conditions_to_json(self.conditions),
            "head": self.head,
        }
        return core | {"position_waves": self.position_waves, "value_features": self.value_features}

    def _encoded(self, x: Tensor, condition: ValuesLike, cache: Cache | None) -> Encoded | None:
        """The condition as the layers see it, computed once in a walk."""
        if self.encoder is None:
            return None
        encode = partial(self.encoder, as_values(condition), x.shape[2], x.shape[3])
        encoded: Encoded = encode() if cache is None else cache.state(self.encoder, encode)
        return encoded

    def _rows(self, x: Tensor, cache: Cache | None) -> Tensor:
        """The rows that a pass works on, scaled to [-1, 1]."""
        return self._centre(x if cache is None else x[:, :, cache.rows.start : cache.rows.stop])

    def _rows_above(self, x: Tensor, cache: Cache | None) -> Tensor:
        """The same rows one row behind, scaled; above the first row there are zeros."""
        start, stop = (0, x.shape[2]) if cache is None else (cache.rows.start, cache.rows.stop)
        above = self._centre(x[:, :, max(start - 1, 0) : stop - 1])
        return nn.functional.pad(above, (0, 0, 1, 0)) if start == 0 else above

    def _previous(self, x: Tensor, cache: Cache) -> Tensor:
        """What was decided before the cache's site, scaled: (B, C / colours); of no meaning at the
        start of a row.
        """
        channel, row, column = cache.previous_site() or (0, 0, 0)
        if self.colours == 1:
            return self._centre(x[:, :, row : row + 1, column : column + 1])[:, :, 0, 0]
        return self._centre(x[:, channel, row, column, None, None, None], channel)[:, :, 0, 0]

    def _centre(self, x: Tensor, channel: int = 0) -> Tensor:
        """Integers (B, c, h, w) of the colours from `channel` on, as the first layer reads them:
        (B, c·features, h, w).

        Amounts become -1 … 1, in the precision of the parameters; names their features, feature by
        feature all colours.
        """
        if self.values is not None:
            if x.is_floating_point():
                raise TypeError(
                    "x has a floating type, but this model's values are names; give integers"
                )
            first = torch.arange(channel, channel + x.shape[1], device=x.device) * self.levels
            features: Tensor = self.values(x.long() + first[:, None, None])
            return features.permute(0, 4, 1, 2, 3).flatten(1, 2)
        return torch.add(self._minus_one, x.to(self.dtype), alpha=2 / (self.levels - 1))


def check_values(model: ImageModel, x: Tensor) -> None:
    """Raises unless x holds integers that the model knows."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise TypeError(f"x has type {x.dtype}; give integers 0 … {model.levels - 1}")
    if x.numel():
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= model.levels:
            wrong = low if low < 0 else high
            raise ValueError(
                f"x contains the value {wrong}; this model knows 0 … {model.levels - 1}"
            )


# Outputs of one pass, B·C·levels·rows·W: 2^26 floats are 256 MB, and a pass holds a few times as
# much.
_OUTPUTS_PER_PASS = 1 << 26


def rows_per_pass(model: AutoregressiveModel, batch: int, width: int) -> int:
    """How many rows of so many images of that width can be computed at once without filling the
    memory.
    """
    return max(1, _OUTPUTS_PER_PASS // (batch * model.channels * model.levels * width))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: dropout off, then as before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
