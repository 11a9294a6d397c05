"""What a walk over an image has computed so far.

A full pass computes every layer's map for all sites at once. A walk fills the same maps bit by bit,
and a layer that looks at neighbours keeps in the cache what it will look at again: the last rows of
its input, and the rows in progress. The numbers are those of the full pass; only their order
differs.

A cache is at one of two places at a time, and `model(x, condition, cache)` computes just that
place:

- at **rows** (`move_to_rows`): whole rows whose pixels are all known, any number at once. This is
  how a walk takes in known rows, and how large images are scored a few rows at a time;
- at a **front** (`enter`, then `move_to_front`): one colour of one column of several rows, given
  everything before it: see `nextpixel.front`.

Rows must follow each other in raster order, because a layer remembers only what later places need.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from nextpixel.front.place import Front
from nextpixel.front.skew import Skew

__all__ = ["Cache", "Site", "raster_order"]

State = TypeVar("State")


class Site(NamedTuple):
    """One sub-pixel: a colour of a pixel."""

    channel: int
    row: int
    column: int


def raster_order(channels: int, height: int, width: int) -> Iterator[Site]:
    """All sites in the order of the factorisation: row by row, pixel by pixel, colour by colour."""
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                yield Site(channel, row, column)


class Cache:
    """The causal layers' memory during one walk over a batch of images.

    Weights are read when a layer is first used, so a cache belongs to the model as it was then:
    make a new one after further training.

    Args:
        batch: images walked side by side.
        channels: colours of the images that the model predicts one after another: see
            `AutoregressiveModel.colours`.
        height: rows of the images.
        width: columns of the images.

    Attributes:
        rows: the rows of the pass.
        front: where a walk is in them, or None if they are taken in at once.
    """

    def __init__(self, batch: int, channels: int, height: int, width: int) -> None:
        self.batch, self.channels, self.height, self.width = batch, channels, height, width
        self.rows = range(0)
        self.front: Front | None = None
        self._states: dict[Hashable, object] = {}

    def move_to_rows(self, start: int, stop: int) -> None:
        """Goes to the rows start … stop-1, which are known and are taken in at once."""
        self._follow(range(start, stop))

    def enter(
        self,
        skew: Skew,
        x: Tensor,
        dtype: torch.dtype,
        *,
        maps: bool = False,
        replays: bool = True,
    ) -> Front:
        """Goes to the rows of a skew, whose pixels the caller then visits by fronts.

        Args:
            skew: the rows and their order.
            x: the images, whose values at each front are known when the next is visited.
            dtype: of the layers' maps.
            maps: whether layers look up maps of conditions.
            replays: whether steps are recorded and replayed.
        """
        self._follow(skew.rows)
        keep = skew.rows.stop < self.height
        self.front = Front(skew, x, self.channels, dtype, maps=maps, keep=keep, replays=replays)
        return self.front

    def _follow(self, rows: range) -> None:
        if rows.start != self.rows.stop:
            raise ValueError(
                f"rows must follow one another: expected row {self.rows.stop}, received"
                f" {rows.start}"
            )
        if rows.stop > self.height:
            raise ValueError(
                f"row {rows.stop - 1} is outside the image, which has {self.height} rows"
            )
        if self.front is not None:
            self.front.leave()
        self.rows, self.front = rows, None

    def state(self, key: Hashable, create: Callable[[], State]) -> State:
        """What a layer keeps under `key`, such as itself; `create` makes it on first use."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = create()
        return state  # type: ignore[return-value]
