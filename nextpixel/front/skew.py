"""Which sites can be computed together: one column of several rows, each behind the one above it.

Where a model sees only `lag` - 1 columns to the right in the rows above, the pixel at (row, column)
does not need the one at (row - 1, column + lag), nor that at (row + 1, column - lag) anything that
comes later. All pixels of one **time**, column + lag · row, are a front::

    row 0   . . . . . . . . # ·        lag 4: the pixels # are one front
    row 1   . . . . # · · · · ·
    row 2   # · · · · · · · · ·

Row r is in slot r mod n of n slots, and a slot holds one row after the other. So a front is a site
of a picture with one endless row and n times the batch: a **lane** is a slot of an image. Time is
common to all lanes; the row above is one slot up and `lag` earlier. Raster order is a front of one
slot whose lag is a whole row.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Lanes", "Reach", "Skew"]


class Reach(NamedTuple):
    """How far a model's layers see; None where there is no bound.

    Attributes:
        lag: how many columns a row must be behind the one above it, at least; None if it needs
            all of it.
        lead: how many columns ahead of the front the first map of rows above is computed.
        beside: the largest half kernel: zeros that must separate the rows of a slot.
        field: how many rows above, and how many columns to either side, decide a pixel.
    """

    lag: int | None
    lead: int
    beside: int
    field: tuple[int, int] | None


@dataclass(frozen=True)
class Skew:
    """Which rows are in progress together, and when.

    Attributes:
        rows: the rows to go through.
        width: columns.
        slots: n, rows in progress, at most all.
        lag: columns between a row and the next.
        lead: see `Reach`.
    """

    rows: range
    width: int
    slots: int
    lag: int
    lead: int

    @classmethod
    def of(cls, reach: Reach, rows: range, width: int, batch: int, *, raster: bool) -> "Skew":
        """The arrangement that takes the least time; in raster order one row at a time."""
        period = max(width + reach.beside, reach.lead + 1)
        most = 1 if raster or reach.lag is None else min(len(rows), -(-period // reach.lag))
        lags = [max(-(-period // slots), reach.lag or 1) for slots in range(1, most + 1)]
        choices = [cls(rows, width, slots, lag, reach.lead) for slots, lag in enumerate(lags, 1)]
        return min(choices, key=lambda skew: len(skew.times) * (_OVERHEAD + skew.slots * batch))

    @classmethod
    def behind(cls, reach: Reach, rows: range, width: int, lag: int) -> "Skew":
        """The arrangement in which each row is `lag` columns behind the one above it."""
        period = max(width + reach.beside, reach.lead + 1)
        return cls(rows, width, min(len(rows), -(-period // lag)), lag, reach.lead)

    @property
    def times(self) -> range:
        """All times, from the first at which something is computed."""
        return range(-self.lead, self.lag * (len(self.rows) - 1) + self.width)

    @property
    def block(self) -> int:
        """Times after which places in memory repeat: a whole row in raster order."""
        if self.slots == 1:
            return self.lag
        return min(128, max(16, round(math.sqrt(len(self.times)))))

    def pixels(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The row, the column, and whether there is such a pixel, of each time and slot (T, n).

        Where there is none, row and column are of another pixel that the slot has to itself.
        """
        slot = torch.arange(self.slots, device=times.device)
        since = times[:, None] - self.lag * slot
        turn = since.div(self.lag * self.slots, rounding_mode="floor")
        column = since - turn * self.lag * self.slots
        last = (len(self.rows) - 1 - slot).div(self.slots, rounding_mode="floor")
        alive = (turn >= 0) & (turn <= last) & (column < self.width)
        turn = torch.minimum(turn, last).clamp(min=0)
        return self.rows.start + turn * self.slots + slot, column.clamp(max=self.width - 1), alive

    def columns(self, row: int, first: int, count: int) -> tuple[slice, slice]:
        """Which of the times first … first + count - 1 a row has, and which columns they are."""
        start = self.lag * (row - self.rows.start)
        begin = max(0, first - start)
        end = max(begin, min(self.width, first + count - start))
        return slice(begin + start - first, end + start - first), slice(begin, end)


class Lanes:
    """Which lanes have a site among some, at each time of a block and in each colour."""

    def __init__(self, sites: Tensor, skew: Skew, times: range, x: Tensor) -> None:
        rows, columns, alive = skew.pixels(torch.tensor(times, device="cpu"))
        here = (sites[:, :, rows, columns] & alive).permute(2, 1, 3, 0)
        here = here.expand(-1, -1, -1, len(x)).flatten(2)
        self.some: list[list[bool]] = here.any(dim=2).tolist()
        self.lanes = [of_time.unbind(0) for of_time in here.to(x.device).unbind(0)]


# What a step costs beside its lanes, as a number of lanes.
_OVERHEAD = 30
