"""From pixels to the features that the first layer reads.

Ordinal values, such as brightness, are scaled to [-1, 1]. Categorical values, such as the codes of
a vector-quantised auto-encoder, become learned features: an embedding table for each colour.

An input also knows the three views of an image that layers ask for: the rows of a pass, the same
rows one row behind, and at a front what was decided just before it.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.cache import Cache
from nextpixel.front.place import Front
from nextpixel.layers.arithmetic import LOCATIONS, Arithmetic, rounded
from nextpixel.layers.constants import constant

__all__ = ["CategoricalInput", "ImageInput", "OrdinalInput"]


class ImageInput(nn.Module, ABC):
    """Turns the integers of an image into features.

    Args:
        channels: number of colours C of an image.
        levels: number of values of a sub-pixel.
        features: number of features of a sub-pixel.
        colours: how many colours of a pixel are predicted one after another: C or 1.

    Attributes:
        maps: channels of an image as the first layer reads it, C · features.
    """

    arithmetic: Arithmetic | None = None

    def __init__(self, *, channels: int, levels: int, features: int, colours: int) -> None:
        super().__init__()
        self.levels, self.colours, self.channels = levels, colours, channels
        self.maps = channels * features

    def extra_repr(self) -> str:
        """What `print` says of it beside its sub-modules."""
        return f"channels={self.channels}, levels={self.levels}, maps={self.maps}"

    @abstractmethod
    def forward(self, x: Tensor, channel: int = 0) -> Tensor:
        """Integers (B, c, h, w) of the colours from `channel` on, to (B, c · features, h, w).

        Feature by feature, all colours of each: channel k belongs to colour k mod c.
        """

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """Images of any integers, as images that `forward` can read."""

    def rows(self, x: Tensor, cache: Cache | None) -> Tensor:
        """The rows that a pass works on: (B, maps, rows, W)."""
        return self(x if cache is None else x[:, :, cache.rows.start : cache.rows.stop])  # type: ignore[no-any-return]

    def above(self, x: Tensor, cache: Cache | None, ahead: int = 0) -> Tensor:
        """The same rows one row behind; above the first row there are zeros.

        At a front: the pixels above those that are so many columns `ahead`, (lanes, maps).
        """
        if cache is not None and cache.front is not None:
            front = cache.front
            front.ahead = ahead
            values, alive = front.read_above(range(x.shape[1]))
            y = self._written(front, "above", values, 0)
            front.run(y.mul_, alive)
            return y
        start, stop = (0, x.shape[2]) if cache is None else (cache.rows.start, cache.rows.stop)
        above: Tensor = self(x[:, :, max(start - 1, 0) : stop - 1])
        return functional.pad(above, (0, 0, 1, 0)) if start == 0 else above

    def here(self, x: Tensor, cache: Cache | None) -> Tensor:
        """The rows of a pass; at a front the sub-pixels before it, (lanes, maps / colours).

        At the start of a row, what comes before it is undefined.
        """
        if cache is None or cache.front is None:
            return self.rows(x, cache)
        front = cache.front
        back, last = int(front.channel == 0), x.shape[1] - 1
        channel = last if back else front.channel - 1
        channels = range(channel, channel + 1) if self.colours > 1 else range(x.shape[1])
        return self._written(front, "here", front.read(channels, back=back), channels.start)

    def _written(self, front: Front, name: str, values: Tensor, channel: int) -> Tensor:
        """The features of values (lanes, c, 1, 1), in a place of their own."""
        y = front.empty((self, name), self.maps * values.shape[1] // self.channels)
        self.write(front, values, channel, y)
        return y

    @abstractmethod
    def write(self, front: Front, values: Tensor, channel: int, into: Tensor) -> None:
        """At a front: as `forward`, from values (lanes, c, 1, 1) to (lanes, c · features)."""


class OrdinalInput(ImageInput):
    """Ordinal values, scaled to [-1, 1] in the precision of the model's parameters.

    Args:
        channels, levels, colours: see `ImageInput`.
    """

    like: Tensor

    def __init__(self, *, channels: int, levels: int, colours: int) -> None:
        super().__init__(channels=channels, levels=levels, features=1, colours=colours)
        # Without elements, it follows the parameters in device and precision.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def forward(self, x: Tensor, channel: int = 0) -> Tensor:  # noqa: ARG002
        """Integers to -1 … 1."""
        values = x.to(self.like.dtype)
        y = torch.add(_minus_one(self.like), values, alpha=2 / (self.levels - 1))
        return rounded(self.arithmetic, y, places=LOCATIONS)

    def inside(self, x: Tensor) -> Tensor:
        """They can all be scaled."""
        return x

    def write(self, front: Front, values: Tensor, channel: int, into: Tensor) -> None:  # noqa: ARG002
        """-1 … 1."""
        front.run(into.copy_, values.view(into.shape))
        front.run(torch.add, _minus_one(into), into, alpha=2 / (self.levels - 1), out=into)
        rounded(self.arithmetic, into, front, LOCATIONS)


def _minus_one(like: Tensor) -> Tensor:
    return _filled(-1.0, like.device, like.dtype)


@constant
def _filled(value: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.full((), value, device=device, dtype=dtype)


class CategoricalInput(ImageInput):
    """Categorical values, each a row of its colour's embedding table.

    Args:
        channels, levels, features, colours: see `ImageInput`.
    """

    def __init__(self, *, channels: int, levels: int, features: int, colours: int) -> None:
        super().__init__(channels=channels, levels=levels, features=features, colours=colours)
        # A table for each colour, one after another.
        self.weight = nn.Parameter(torch.empty(channels * levels, features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random features of variance one."""
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor, channel: int = 0) -> Tensor:
        """Integers to their features."""
        if x.is_floating_point():
            raise TypeError(
                "x has a floating type, but this model's values are categorical; give integers"
            )
        first = torch.arange(channel, channel + x.shape[1], device=x.device) * self.levels
        features = functional.embedding(x.long() + first[:, None, None], self.weight)
        return features.permute(0, 4, 1, 2, 3).flatten(1, 2)

    def inside(self, x: Tensor) -> Tensor:
        """No colour reads the table of another; `log_prob` refuses values out of range."""
        return x.clamp(0, self.levels - 1)

    def write(self, front: Front, values: Tensor, channel: int, into: Tensor) -> None:
        """Rows of the tables."""
        front.run(lambda: into.copy_(self(values, channel)[:, :, 0, 0]))
