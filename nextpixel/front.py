"""A front: one column of several rows at once, each row lagging behind the one above it.

Where a model sees only `lag` - 1 columns to the right in the rows above, the pixel at (row, column)
does not need the one at (row - 1, column + lag), nor that at (row + 1, column - lag) anything that
comes later. All pixels of one **time**, column + lag · row, are computed together::

    row 0   . . . . . . . . # ·        lag 4: the pixels # are one front
    row 1   . . . . # · · · · ·
    row 2   # · · · · · · · · ·

Row r is in slot r mod n of n slots, and a slot holds one row after the other. So a front is a site
of a picture with one endless row and n times the batch: a **lane** is a slot of an image. Time is
common to all lanes; the row above is one slot up and `lag` earlier. Raster order is a front of one
slot whose lag is a whole row.

Everything at a front has a fixed place in memory, which repeats block after block of times. The
operations of a step are therefore recorded once per phase of a block and replayed afterwards
(`Front.again`): no layer's code runs in between, which is most of the time of a small step.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["Front", "PastRows", "Reach", "Ring", "Skew", "colour_blocks", "relu", "total"]

State = TypeVar("State")


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

    @property
    def times(self) -> range:
        """All times, from the first at which something is computed."""
        return range(-self.lead, self.lag * (len(self.rows) - 1) + self.width)

    @property
    def block(self) -> int:
        """Times after which places in memory repeat: a whole row in raster order."""
        if self.slots == 1:
            return self.lag
        return min(128, max(16, round(len(self.times) ** 0.5)))

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


# What a step costs beside its lanes, as a number of lanes.
_OVERHEAD = 30


class PastRows:
    """The last rows of a layer's input, (B, F, count, W)."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.rows = like.new_zeros(like.shape[0], like.shape[1], count, like.shape[3])

    def append(self, x: Tensor) -> Tensor:
        """Takes rows in; returns the past rows followed by them."""
        both = torch.cat([self.rows, x], dim=2)
        self.rows = both[:, :, -self.rows.shape[2] :].clone()  # a view would keep all of both
        return both


class Front:
    """The place of a walk that goes through some rows by fronts, and what layers keep meanwhile.

    Args:
        skew: the rows and their arrangement.
        x: the images (B, C, H, W) that are walked: always the same tensor.
        colours: how many colours of a pixel are predicted one after another.
        dtype: of the maps.
        maps: whether layers look up maps of conditions.
        keep: whether other rows follow, which will read the last of these.

    Attributes:
        time, channel: where the walk is.
        phase: which time of its block that is.
        lanes: n · B; lane slot · B + image.
        ahead: while operations are recorded, how many columns the maps of rows above are ahead of
            the front: each convolution that looks to the right brings them nearer.
    """

    def __init__(
        self,
        skew: Skew,
        x: Tensor,
        colours: int,
        dtype: torch.dtype,
        *,
        maps: bool = False,
        keep: bool = False,
    ) -> None:
        self.skew, self.x, self.colours, self.keep = skew, x, colours, keep
        self.batch, self.lanes = len(x), skew.slots * len(x)
        self.time, self.channel, self.phase, self.ahead = skew.times.start, 0, 0, 0
        self.start: int | None = None
        self._states: dict[Hashable, Any] = {}
        self._once: dict[Hashable, Any] = {}
        self._whole: dict[int, Tensor] = {}
        self._factors: dict[nn.Module, tuple[Tensor | None, Tensor | None]] = {}
        self._tape: list[Callable[[], object]] = []
        self._tapes: list[tuple[tuple[Callable[[], object], ...], Callable[[], Any]] | None]
        self._tapes = [None] * (skew.block * colours)
        self._at_blocks: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        # Of all times of a block, the one before it, and those that the first maps are ahead.
        length = 1 + skew.block + skew.lead

        def table(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(length, self.lanes, *shape, dtype=dtype, device=x.device)

        self._alive, self._above_alive = table(dtype, 1), table(dtype, 1)
        self._sites, self._above_sites = table(torch.int64), table(torch.int64)
        self._pixels = (table(torch.int64), table(torch.int64)) if maps else None

    def move_to(self, time: int, channel: int) -> None:
        """Goes to a colour of the pixels of one time."""
        self.time, self.channel, self.phase = time, channel, time % self.skew.block
        start = time - self.phase
        if start != self.start:
            first, self.start = self.start is None, start
            self._enter_block()
            if not first:
                for act in self._at_blocks:
                    act()

    def leave(self) -> None:
        """Hands on what later rows will read."""
        for act in self._at_end:
            act()

    @property
    def row(self) -> int:
        """In raster order, the row."""
        assert self.start is not None
        return self.skew.rows.start + max(0, self.start // self.skew.block)

    def _enter_block(self) -> None:
        assert self.start is not None
        length = len(self._alive)
        times = torch.arange(self.start - 1, self.start - 1 + length, device=self.x.device)
        row, column, alive = (m[:, :, None] for m in self.skew.pixels(times))
        shape = length, self.skew.slots, self.batch
        self._alive.view(shape).copy_(alive)
        self._above_alive.view(shape).copy_(alive & (row > 0))
        images, _, rows, columns = self.x.stride()
        image = torch.arange(0, images * self.batch, images, device=self.x.device)
        place = column * columns
        torch.add(row * rows + place, image, out=self._sites.view(shape))
        above = (row - 1).clamp_(min=0).mul_(rows)
        torch.add(above.add_(place), image, out=self._above_sites.view(shape))
        if self._pixels is not None:
            height, width = self.x.shape[2:]
            pixel = row * width + column
            self._pixels[0].view(shape).copy_(pixel)
            image = torch.arange(self.batch, device=self.x.device) * (height * width)
            torch.add(pixel, image, out=self._pixels[1].view(shape))

    def first(self, compute: Callable[[], Tensor], result: Callable[[Tensor], State]) -> State:
        """Does what `compute` does, which must only call `run`, and makes a result of it."""
        self._tape, self.ahead = [], 0
        outputs = compute()
        make = partial(result, outputs)
        self._tapes[self.phase * self.colours + self.channel] = tuple(self._tape), make
        return make()

    def again(self) -> Any:
        """Repeats what was done at this colour and phase; returns its result, or None at first."""
        known = self._tapes[self.phase * self.colours + self.channel]
        if known is None:
            return None
        for operation in known[0]:
            operation()
        return known[1]()

    def run(self, operation: Callable[..., object], *arguments: Any, **keywords: Any) -> None:
        """Does something now, and whenever the walk is at this colour and phase again."""
        call = partial(operation, *arguments, **keywords)
        call()
        self._tape.append(call)

    def state(self, key: Hashable, create: Callable[[], State]) -> State:
        """What a layer keeps under `key` while the walk goes through these rows."""
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = create()
        return state  # type: ignore[no-any-return]

    def once(self, key: Hashable, compute: Callable[[], State]) -> State:
        """What is computed for all colours together, with the first of them."""
        key = key, self.phase
        if key not in self._once:
            self._once[key] = compute()
        return self._once[key]  # type: ignore[no-any-return]

    def of_colour(self, maps: Tensor) -> Tensor:
        """The maps (lanes, F) of this colour, of those that come colour by colour."""
        return maps.view(self.lanes, self.colours, -1)[:, self.channel]

    def at_blocks(self, act: Callable[[], None]) -> None:
        """Has something done whenever a block begins: in raster order, a row."""
        self._at_blocks.append(act)

    def at_end(self, act: Callable[[], None]) -> None:
        """Has something done when all rows are complete."""
        self._at_end.append(act)

    def empty(self, key: Hashable, *shape: int, like: Tensor | None = None) -> Tensor:
        """A tensor (lanes, …) that a layer writes its result to."""
        like = self._alive if like is None else like
        return self.state((key, "result", *shape), lambda: like.new_empty(self.lanes, *shape))

    def pixel(self, key: Hashable, width: int) -> Tensor:
        """As `empty`, (lanes, width), of this colour: results of other colours are kept."""

        def colours() -> list[Tensor]:
            every = self._alive.new_zeros(self.lanes, self.colours, width)
            found = list(every.unbind(1))
            self._whole |= {id(of_one): every for of_one in found}
            return found

        return self.state((key, "pixel", width), colours)[self.channel]

    def whole(self, of_colour: Tensor) -> Tensor | None:
        """The results (lanes, C, width) of all colours, if this is of one; see `pixel`."""
        return self._whole.get(id(of_colour))

    def fold(
        self, layer: nn.Module, *, inputs: Tensor | None = None, outputs: Tensor | None = None
    ) -> None:
        """Multiplies a layer's inputs and outputs by constants, as part of its weights.

        To be said before the layer is used.
        """
        self._factors[layer] = inputs, outputs

    def folded(self, layer: nn.Module, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Any]:
        """A layer's weights (outputs, inputs, …) and bias with the constants of `fold`."""
        inputs, outputs = self._factors.get(layer, (None, None))
        if inputs is not None:
            weight = weight * inputs.view(1, -1, *[1] * (weight.ndim - 2))
        if outputs is not None:
            weight = weight * outputs.view(-1, *[1] * (weight.ndim - 1))
            bias = None if bias is None else bias * outputs
        return weight, bias

    def alive(self, ahead: int, back: int = 0) -> Tensor:
        """One for lanes that have a pixel, zero for the others, (lanes, 1)."""
        return self._alive[1 + self.phase + ahead - back]

    @property
    def sites(self) -> Tensor:
        """Where the pixels of the front are in the memory of x, (lanes,); counted from x[0, 0]."""
        return self._sites[1 + self.phase]

    @property
    def living(self) -> Tensor:
        """Which lanes have a pixel, (lanes,), as numbers."""
        return self._alive[1 + self.phase, :, 0]

    def read(self, channels: range, *, back: int = 0) -> Tensor:
        """Values of the pixels of the front, or of a time before: (lanes, c, 1, 1)."""
        return self._read(channels, self._sites[1 + self.phase - back], f"here {back}")

    def read_above(self, channels: range) -> tuple[Tensor, Tensor]:
        """Values above the pixels that are `ahead`, and where there are any, (lanes, 1)."""
        at = 1 + self.phase + self.ahead
        return self._read(channels, self._above_sites[at], "above"), self._above_alive[at]

    def _read(self, channels: range, sites: Tensor, key: str) -> Tensor:
        values = self.empty((key, channels), len(channels), 1, 1, like=self.x)
        for k, channel in enumerate(channels):
            flat = self.flat(self.x, channel)
            self.run(torch.index_select, flat, 0, sites, out=values[:, k, 0, 0])
        return values

    @staticmethod
    def flat(x: Tensor, channel: int) -> Tensor:
        """The memory of one colour of all images, in which `sites` are places."""
        plane = x[:, channel]
        extent = 1 + sum((n - 1) * s for n, s in zip(plane.shape, plane.stride(), strict=True))
        return plane.as_strided((extent,), (1,))

    def look_up(self, name: str, maps: Tensor) -> Tensor:
        """The columns of maps (B or 1, F, H, W) at the pixels that are `ahead`, (lanes, F)."""

        def gather() -> Tensor:
            rows = self.state(name, lambda: maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]))
            found = self.empty((name, self.ahead), maps.shape[1], like=maps)
            assert self._pixels is not None
            places = self._pixels[0 if len(maps) == 1 else 1][1 + self.phase + self.ahead]
            self.run(torch.index_select, rows, 0, places, out=found)
            return found

        return self.once((name, self.ahead), gather)


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
            kept = torch.cat(
                [past.rows, past.rows.new_zeros(*past.rows.shape[:2], len(skew.rows), skew.width)],
                2,
            )
            self._kept = kept[:, :, len(skew.rows) :].clone()
            if skew.rows.start or past.rows.any():
                self._feed(self.values[above:], self._history)
                self._mirror(slice(None))
                self._fed = torch.zeros_like(self.values[above:, :, : skew.block])
                self._feed(self._fed, 0)
            if front.keep:
                front.at_end(self._hand_on)
        front.at_blocks(self._advance)

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


def colour_blocks(features: int, colours: int, device: torch.device) -> Tensor:
    """The order in which feature maps come colour by colour, instead of interleaved."""
    return torch.arange(features, device=device).view(-1, colours).T.flatten()


def relu(y: Tensor, front: Front | None, key: Hashable = None) -> Tensor:
    """The positive part. At a front it overwrites y, unless it has a place to keep under `key`."""
    if front is None:
        return y.relu() if key is not None else y.relu_()
    if key is None:
        front.run(y.relu_)
        return y
    positive = front.pixel((key, "relu"), y.shape[1])
    front.run(torch.clamp_min, y, 0, out=positive)
    return positive


def total(a: Tensor, b: Tensor, front: Front | None, key: Hashable) -> Tensor:
    """A + b; at a front in a place that is kept under `key`."""
    if front is None:
        return a + b
    y = front.pixel((key, "total"), a.shape[1])
    front.run(torch.add, a, b, out=y)
    return y
