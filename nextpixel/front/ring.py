"""A layer's map at fronts, of which it keeps what later fronts read."""

import torch
from torch import Tensor

from nextpixel.front.place import Front

__all__ = ["PastRows", "Ring"]


class PastRows:
    """The last rows of a layer's input, (B, F, count, W)."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.rows = like.new_zeros(like.shape[0], like.shape[1], count, like.shape[3])

    def append(self, x: Tensor) -> Tensor:
        """Takes rows in; returns the past rows followed by them."""
        both = torch.cat([self.rows, x], dim=2)
        self.rows = both[:, :, -self.rows.shape[2] :].clone()  # a view would keep all of both
        return both


class Ring:
    """A layer's map at fronts: for every lane its last columns, up to those of the block.

    Args:
        front: the walk.
        colours, width: features of a pixel: colour by colour, so many each.
        before: how many columns to the left are read.
        after: how many columns to the right, which are put so much earlier.
        above: how many rows above are read.
        past: the last rows of the map above the first row of the walk, which they follow; and
            which takes the last rows of the walk. For maps that read rows above.

    Attributes:
        values: (above + slots, B, columns, colours, width); the first `above` slots repeat the
            last.
    """

    def __init__(
        self,
        front: Front,
        colours: int,
        width: int,
        *,
        before: int = 0,
        after: int = 0,
        above: int = 0,
        past: PastRows | None = None,
    ) -> None:
        skew = front.skew
        self._front, self._above, self._after, self._past = front, above, after, past
        self._ahead = front.ahead
        self._history = above * skew.lag + before + after
        shape = front.batch, self._history + skew.block, colours, width
        self.values = torch.zeros(
            above + skew.slots, *shape, dtype=front._alive.dtype, device=front.x.device
        )
        self._rows = self.values.flatten(0, 1).flatten(2)
        self._lanes = self.values[above:].flatten(0, 1)
        self._fed: Tensor | None = None
        if past is not None:
            rows = len(skew.rows)
            blank = torch.zeros_like(past.rows[:, :, :rows])  # not as large as the image
            self._kept = torch.cat([past.rows[:, :, rows:], blank], 2)
            if skew.rows.start or past.rows.any():
                self._feed(self.values[above:], self._history)
                self._mirror(slice(None))
                self._fed = torch.zeros_like(self.values[above:, :, : skew.block])
                self._feed(self._fed, 0)
            if front.keep:
                front.at_end(self._hand_on)
        front.at_blocks(self._advance)
        front.at_replacements(self._replace)

    def put(self, x: Tensor, channel: int = 0, *, back: int = 0) -> None:
        """Writes features (lanes, width); zeros outside the picture."""
        front = self._front
        at, alive = self._history + front.phase - back, front.alive(self._ahead, back)
        target = self._lanes[:, at, channel]
        if self._fed is None:
            front.run(torch.mul, x, alive, out=target)
        else:
            fed = self._fed[:, :, front.phase, channel].flatten(0, 1)
            front.run(torch.addcmul, fed, x, alive, out=target)
        slots = front.skew.slots
        if slots >= self._above:
            if self._above:
                columns = self.values[:, :, at, channel]
                front.run(columns[: self._above].copy_, columns[slots:])
        else:
            front.run(self._mirror, at)

    @property
    def place(self) -> Tensor:
        """Where the features (lanes, width) of maps without colours belong, outside too."""
        return self._rows[-self._front.lanes :, self._history + self._front.phase]

    def window(self, above: int, first: int, last: int) -> Tensor:
        """Columns first … last beside the front, in a row above: (lanes, columns · features)."""
        front = self._front
        at = self._history + front.phase - self._after - above * front.skew.lag
        begin = (self._above - above) * front.batch
        return self._rows[begin : begin + front.lanes, at + first : at + last + 1].flatten(1)

    def _mirror(self, columns: int | slice) -> None:
        slots = self._front.skew.slots
        for k in range(self._above):
            source = self._above + (k - self._above) % slots
            self.values[k][:, columns] = self.values[source][:, columns]

    def _advance(self) -> None:
        front, block = self._front, self._front.skew.block
        if self._past is not None and front.keep:
            self._drain(block)
        if self._history:
            self.values[:, :, : self._history] = self.values[:, :, block:].clone()
        assert front.start is not None
        if self._fed is not None and front.start < front.skew.width + block:
            self._fed.zero_()
            self._feed(self._fed, 0)

    def _replace(self, places: Tensor, sources: Tensor) -> None:
        """Goes on in some places of the batch with the maps of other images."""
        written = self.values[:, :, : self._history + self._front.phase + 1]
        written[:, places] = written[:, sources]
        if self._past is not None:
            for rows in (self._past.rows, self._kept):
                rows[places] = rows[sources]
        if self._fed is not None:
            self._fed[:, places] = self._fed[:, sources]

    def _feed(self, into: Tensor, before: int) -> None:
        """Copies columns of the rows above the walk to where their times are in this block."""
        assert self._past is not None
        start = self._front.skew.rows.start
        rows = range(start - self._kept.shape[2], start)
        for k, slot, places, columns in self._places(before, into.shape[2], rows):
            into[slot, :, places] = self._by_colour(self._past.rows[:, :, k])[:, columns]

    def _drain(self, before: int) -> None:
        """Copies what a block has computed of the last rows."""
        skew, count = self._front.skew, self._kept.shape[2]
        written = self.values[self._above :, :, self._history :]
        rows = range(skew.rows.stop - count, skew.rows.stop)
        for k, slot, places, columns in self._places(before, skew.block, rows):
            if rows[k] >= skew.rows.start:
                self._by_colour(self._kept[:, :, k])[:, columns] = written[slot, :, places]

    def _hand_on(self) -> None:
        assert self._past is not None
        self._drain(0)
        self._past.rows = self._kept

    def _places(self, before: int, count: int, rows: range) -> list[tuple[int, int, slice, slice]]:
        """Of each row: which it is, its slot, its times in a span of times, and their columns."""
        front, skew = self._front, self._front.skew
        assert front.start is not None
        first = front.start + self._ahead - before
        return [
            (k, (row - skew.rows.start) % skew.slots, *skew.columns(row, first, count))
            for k, row in enumerate(rows)
        ]

    def _by_colour(self, row: Tensor) -> Tensor:
        """One row (B, F, W) as (B, W, colours, width): a view."""
        colours, width = self.values.shape[3:]
        return row.view(row.shape[0], width, colours, row.shape[2]).permute(0, 3, 2, 1)
