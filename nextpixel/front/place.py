"""The place of a walk that goes through some rows by fronts.

Everything at a front has a fixed place in memory, which repeats block after block of times. The
operations of a step are therefore recorded once per phase of a block and replayed afterwards
(`Front.again`): no layer's code runs in between, which is most of the time of a small step.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nextpixel.front.skew import Skew

__all__ = ["Front", "beside", "colour_blocks", "relu", "total"]

State = TypeVar("State")


class Front:
    """The place of a walk that goes through some rows by fronts, and what layers keep meanwhile.

    Args:
        skew: the rows and their arrangement.
        x: the images (B, C, H, W) that are walked: always the same tensor.
        colours: how many colours of a pixel are predicted one after another.
        dtype: of the maps.
        maps: whether layers look up maps of conditions.
        keep: whether other rows follow, which will read the last of these.
        replays: whether steps are recorded and replayed, or a model's code runs at each of them.

    Attributes:
        time, channel: where the walk is.
        phase: which time of its block that is.
        lanes: n · B; lane slot · B + image.
        by_feature: whether the lanes of each feature lie side by side, and the weights of each
            output: products in float64 are up to twice as fast.
        differing_maps: whether images that were alike so far may differ in maps of conditions.
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
        replays: bool = True,
    ) -> None:
        self.skew, self.x, self.colours, self.keep = skew, x, colours, keep
        self._replays = replays
        self.batch, self.lanes = len(x), skew.slots * len(x)
        self.time, self.channel, self.phase, self.ahead = skew.times.start, 0, 0, 0
        self.start: int | None = None
        self.differing_maps = False
        self._states: dict[Hashable, Any] = {}
        self._once: dict[Hashable, Any] = {}
        self._whole: dict[int, Tensor] = {}
        self._factors: dict[nn.Module, tuple[Tensor | None, Tensor | None]] = {}
        self._tape: list[Callable[[], object]] = []
        self._tapes: list[tuple[tuple[Callable[[], object], ...], Callable[[], Any]] | None]
        self._tapes = [None] * (skew.block * colours)
        self._at_blocks: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self._at_replacements: list[Callable[[Tensor, Tensor], None]] = []
        # Of all times of a block, the one before it, and those that the first maps are ahead.
        length = 1 + skew.block + skew.lead

        def table(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(length, self.lanes, *shape, dtype=dtype, device=x.device)

        self._alive, self._above_alive = table(dtype, 1), table(dtype, 1)
        self._sites, self._above_sites = table(torch.int64), table(torch.int64)
        self.by_feature = dtype == torch.float64
        # Views that are used at every step, made once.
        self._places = self._sites.unbind(0)
        self._pixels = (table(torch.int64), table(torch.int64)) if maps else None

    def move_to(self, time: int, channel: int) -> None:
        """Goes to a colour of the pixels of one time."""
        if time != self.time and not self._replays:
            self._once.clear()
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

    def first(
        self, compute: Callable[[], Tensor], result: Callable[[Tensor], State], *, lasting: bool
    ) -> State:
        """Does what `compute` does, which must only call `run`, and makes a result of it.

        A lasting result stays right when its tensor is overwritten.
        """
        self._tape, self.ahead = [], 0
        outputs = compute()
        found = result(outputs)
        again = (lambda: found) if lasting else partial(result, outputs)
        self._tapes[self.phase * self.colours + self.channel] = tuple(self._tape), again
        return found

    def again(self) -> Any:
        """Repeats what was done at this colour and phase; returns its result, or None at first."""
        known = self._tapes[self.phase * self.colours + self.channel]
        if known is None or not self._replays:
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
        return state

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

    def at_replacements(self, act: Callable[[Tensor, Tensor], None]) -> None:
        """Has something done when images are replaced by others: see `replace`."""
        self._at_replacements.append(act)

    def replace(self, places: Tensor, sources: Tensor) -> None:
        """Goes on in some places of the batch with what was computed for other images.

        All colours of a time must be complete. The pixels of x are replaced by the caller.
        """
        for act in self._at_replacements:
            act(places, sources)

    def empty(self, key: Hashable, *shape: int, like: Tensor | None = None) -> Tensor:
        """A tensor (lanes, …) that a layer writes its result to."""

        def create() -> Tensor:
            if like is None and self.by_feature:
                return self._alive.new_empty(*shape, self.lanes).movedim(-1, 0)
            return (self._alive if like is None else like).new_empty(self.lanes, *shape)

        return self.state((key, "result", *shape), create)

    def matrix(self, weight: Tensor) -> Tensor:
        """The weights of a product (inputs, outputs) or several, as they are read fastest."""
        return weight.mT.contiguous().mT if self.by_feature else weight.contiguous()

    def pixel(self, key: Hashable, width: int) -> Tensor:
        """As `empty`, (lanes, width), of this colour: results of other colours are kept."""
        return self.state((key, "pixel", width), lambda: self._pixel(width))[self.channel]

    def _pixel(self, width: int) -> tuple[Tensor, ...]:
        if self.by_feature:
            every = self._alive.new_zeros(self.colours, width, self.lanes).movedim(2, 0)
        else:
            every = self._alive.new_zeros(self.lanes, self.colours, width)
        of_colours = every.unbind(1)
        self._whole |= {id(of_one): every for of_one in of_colours}
        return of_colours

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
        return self._places[1 + self.phase]

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
        return self.once((name, self.ahead), lambda: self._look_up(name, maps))

    def _look_up(self, name: str, maps: Tensor) -> Tensor:
        assert self._pixels is not None
        rows = self.state(name, lambda: self._rows_of(maps))
        found = self.empty((name, self.ahead), maps.shape[1], like=maps)
        places = self._pixels[0 if len(maps) == 1 else 1][1 + self.phase + self.ahead]
        self.run(torch.index_select, rows, 0, places, out=found)
        return found

    def _rows_of(self, maps: Tensor) -> Tensor:
        by_pixel = maps.permute(0, 2, 3, 1)
        rows = by_pixel.reshape(-1, maps.shape[1])

        def follow(places: Tensor, sources: Tensor) -> None:  # noqa: ARG001
            rows.copy_(by_pixel.reshape(rows.shape))

        if self.differing_maps:
            self.at_replacements(follow)
        return rows


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


def beside(a: Tensor, b: Tensor, front: Front | None, key: Hashable) -> Tensor:
    """The maps of a, then those of b; at a front in a place that is kept under `key`."""
    if front is None:
        return torch.cat((a, b), dim=1)
    y = front.empty((key, "beside"), a.shape[1] + b.shape[1])
    front.run(torch.cat, (a, b), dim=1, out=y)
    return y
