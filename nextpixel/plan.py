"""What a walk visits, and in which steps.

Known pixels outside the field of every unknown site are left out; rows without unknown sites are
taken in many at a time; the others are gone through by fronts (`nextpixel.front.skew`), or in
raster order, and their unknown sites are visited.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.conditions.values import Values
from nextpixel.devices import full_precision, one_thread
from nextpixel.front.place import Front
from nextpixel.front.skew import Skew
from nextpixel.layers.heads import Distribution
from nextpixel.models.core import AutoregressiveModel, ImageModel, Scale, rows_per_pass

__all__ = ["Part", "Plan", "Step", "apart", "quietly"]

Item = TypeVar("Item")

# From this many lanes on, several threads made steps of 54 features faster (benchmarks/sampling.py
# --threads 2).
_THREADED_LANES = 64


def quietly(front: Front) -> AbstractContextManager[None]:
    """Computes on one thread within a block if the operations at a front are small."""
    small = front.x.device.type == "cpu" and front.lanes < _THREADED_LANES
    return one_thread() if small else nullcontext()


def apart(steps: Generator[Item, None, None], device: torch.device) -> Iterator[Item]:
    """Steps that are computed without gradients and in full precision.

    In between, where the caller's code runs, all modes are the caller's.
    """
    with closing(steps):
        while True:
            with torch.inference_mode(), full_precision(device):
                step = next(steps, None)
            if step is None:
                return
            yield step


class Part(NamedTuple):
    """Every `step`-th row and column of an image, and of those some rows and columns."""

    step: int
    rows: range
    columns: range

    def of(self, x: Tensor) -> Tensor:
        """The part of images (B, C, H, W): a view."""
        rows, columns = self.rows, self.columns
        few = x[:, :, :: self.step, :: self.step]
        return few[:, :, rows.start : rows.stop, columns.start : columns.stop]


class Step(NamedTuple):
    """One colour of one front.

    `distribution` is of all lanes; `wanted` tells which of them have an unknown site, (lanes,);
    `part` cuts (B, C, H, W) to the pixels that the front goes through.
    """

    channel: int
    front: Front
    distribution: Distribution
    wanted: Tensor
    part: Part

    def log_pmf(self) -> Tensor:
        """The log-probabilities of all values in every lane, (lanes, levels)."""
        with quietly(self.front):
            return self.distribution.log_pmf(self.given(), self.channel).flatten(1)

    def given(self) -> Tensor:
        """What the distribution depends on: earlier colours of each lane, or x if it needs none."""
        front, x = self.front, self.front.x
        # What colours of a pixel that are predicted at once depend on.
        if front.colours == 1 and self.channel:
            earlier = range(self.channel)
            values = [front.flat(x, c).index_select(0, front.sites) for c in earlier]
            x = torch.stack(values, dim=1)[:, :, None, None]
        return x

    @property
    def slots(self) -> Tensor:
        """Which slots have an unknown site in some image, (n,)."""
        return self.wanted.view(self.front.skew.slots, -1).any(dim=1)


class Plan:
    """What to visit for the unknown sites of images, and in which steps.

    Known pixels outside the field of every unknown site are left out; rows without unknown sites
    are taken in many at a time; of the others only the unknown sites are visited.

    Args:
        model: the distribution.
        x: images (B, C, H, W).
        values: the model's conditions for each of them.
        unknown: sites to visit, (B or 1, C, H, W), on the CPU.
        raster: whether to visit one site at a time, in the model's order.
        lags: for every scale's step how many columns a row is to be behind the one above it; all
            rows are then gone through together. None decides by what is unknown.
    """

    def __init__(
        self,
        model: ImageModel,
        x: Tensor,
        values: Values,
        unknown: Tensor,
        *,
        raster: bool,
        lags: Mapping[int, int] | None = None,
    ) -> None:
        self._model, self._x, self._values = model, x, values
        self._unknown, self._raster, self._lags = unknown, raster, lags

    def __len__(self) -> int:
        """How many steps there are."""
        count = 0
        for scale in self._model.scales():
            for part in self._parts(scale):
                unknown = self._wanted(scale, part).any(dim=0)
                for skew in self._skews(scale, part):
                    rows, columns, alive = skew.pixels(torch.tensor(skew.times))
                    count += int((unknown[:, rows, columns] & alive).any(dim=2).sum())
        return count

    def steps(self) -> Generator[Step, None, None]:
        """Visits all unknown sites; at a step those of earlier steps must be in place in x."""
        for scale in self._model.scales():
            network, given = scale.network, scale.given(self._x, self._values)
            size = (
                len(range(0, self._x.shape[2], scale.step)),
                len(range(0, self._x.shape[3], scale.step)),
            )
            encode = partial(network.encoder, given, *size) if network.encoder else None
            encoded = None
            for part in self._parts(scale):
                x = part.of(self._x)
                cache = Cache(len(x), network.colours, x.shape[2], x.shape[3])
                if encode is not None:
                    encoded = encode() if encoded is None else encoded
                    cache.state(network.encoder, partial(encoded.part, part.rows, part.columns))
                wanted = self._wanted(scale, part)
                for skew in self._skews(scale, part):
                    _take_in(network, x, given, cache, skew.rows.start)
                    yield from _front_steps(network, x, given, cache, skew, wanted, part)

    def _wanted(self, scale: Scale, part: Part) -> Tensor:
        """The unknown sites of a part that count in its scale."""
        unknown = part.of(self._unknown)
        if scale.coarser is None:
            return unknown
        apart = scale.coarser // scale.step
        known = unknown.new_zeros(unknown.shape[2:])
        known[-part.rows.start % apart :: apart, -part.columns.start % apart :: apart] = True
        return unknown & ~known

    def _parts(self, scale: Scale) -> Iterator[Part]:
        """Parts that hold unknown sites and their fields; none needs what a later one draws."""
        height, width = (len(range(0, n, scale.step)) for n in self._x.shape[2:])
        whole = Part(scale.step, range(height), range(width))
        if self._lags is not None:
            yield whole
            return
        unknown = self._wanted(scale, whole).any(dim=0).any(dim=0)
        field = scale.network.reach.field
        if field is None:
            last = unknown.any(dim=1).nonzero().flatten().tolist()[-1:]
            if last:
                yield Part(scale.step, range(last[0] + 1), range(width))
            return
        above, beside = field
        for rows, columns in _boxes(unknown, above, width if self._raster else beside):
            yield Part(
                scale.step,
                range(max(0, rows.start - above), rows.stop),
                range(max(0, columns.start - beside), min(width, columns.stop + beside)),
            )

    def _skews(self, scale: Scale, part: Part) -> Iterator[Skew]:
        """How to go through the rows with unknown sites."""
        reach, batch, width = scale.network.reach, len(self._x), len(part.columns)
        if self._lags is not None:
            yield Skew.behind(reach, part.rows, width, self._lags[scale.step])
            return
        unknown = self._wanted(scale, part).flatten(0, 1).any(dim=0).any(dim=1)
        # To begin anew costs a row's width; a known row in between costs its lag.
        together = 1 if self._raster or reach.lag is None else width // reach.lag + 1
        for rows in _runs(unknown, together):
            yield Skew.of(reach, rows, width, batch, raster=self._raster)


def _runs(present: Tensor, apart: int) -> list[range]:
    """Ranges that cover what is present, at least `apart` places from each other."""
    runs: list[range] = []
    for place in present.nonzero().flatten().tolist():
        if runs and place - runs[-1].stop < apart:
            runs[-1] = range(runs[-1].start, place + 1)
        else:
            runs.append(range(place, place + 1))
    return runs


def _boxes(unknown: Tensor, above: int, beside: int) -> Iterator[tuple[range, range]]:
    """Rows and columns of boxes that cover all unknown pixels (H, W).

    Those of one box are not in the field of another's.
    """
    for rows in _runs(unknown.any(dim=1), above):
        band = unknown[rows.start : rows.stop]
        runs = _runs(band.any(dim=0), beside)
        if len(runs) == 1:
            yield rows, runs[0]
            continue
        for columns in runs:
            for r, c in _boxes(band[:, columns.start : columns.stop], above, beside):
                yield _moved(r, rows.start), _moved(c, columns.start)


def _moved(places: range, by: int) -> range:
    return range(places.start + by, places.stop + by)


def _take_in(model: AutoregressiveModel, x: Tensor, values: Values, cache: Cache, row: int) -> None:
    """Takes in the rows up to one, many at a time."""
    at_once = rows_per_pass(model, len(x), x.shape[3])
    while cache.rows.stop < row:
        cache.move_to_rows(cache.rows.stop, min(row, cache.rows.stop + at_once))
        model(x, values, cache)


def _front_steps(
    model: AutoregressiveModel,
    x: Tensor,
    values: Values,
    cache: Cache,
    skew: Skew,
    wanted: Tensor,
    part: Part,
) -> Iterator[Step]:
    front = cache.enter(
        skew, x, model.dtype, maps=model.encoder is not None, replays=_is_ours(model)
    )
    length = skew.block
    for time in skew.times:
        phase = time % length
        if phase == 0 or time == skew.times.start:
            here = _in_lanes(wanted, skew, range(time - phase, time - phase + length), len(x))
            some = here.any(dim=2).tolist()
            lanes = [of_time.unbind(0) for of_time in here.to(x.device).unbind(0)]
        for channel in range(model.channels):
            if time < 0 and channel:
                break  # before the first pixel only the rows above are prepared
            if channel < model.colours:
                with quietly(front):
                    front.move_to(time, channel)
                    distribution = front.again() or model(x, values, cache)
            if some[phase][channel]:
                yield Step(channel, front, distribution, lanes[phase][channel], part)


def _is_ours(model: AutoregressiveModel) -> bool:
    """Whether no code of a user's own takes part, which a replay of our operations would miss."""
    return all(
        type(part).__module__.startswith(("nextpixel.", "torch."))
        and "forward" not in vars(part)
        and not (part._forward_hooks or part._forward_pre_hooks)
        for part in model.modules()
    )


def _in_lanes(wanted: Tensor, skew: Skew, times: range, batch: int) -> Tensor:
    """Which lanes have a wanted site at each time, (T, C, lanes)."""
    rows, columns, alive = skew.pixels(torch.tensor(times))
    sites = wanted[:, :, rows, columns] & alive
    return sites.permute(2, 1, 3, 0).expand(-1, -1, -1, batch).flatten(2)
