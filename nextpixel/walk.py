"""The walk over an image: every site given all before it, with the distribution of its value.

Sampling, completing and coding are this one loop with different ways to choose the value. The loop
belongs to the caller, who writes each value into x before taking the next site::

    for site, log_pmf in walk(model, x, condition):
        x[:, site.channel, site.row, site.column] = ...

`fronts` is the same walk with as many sites at once as the model allows (`nextpixel.front`).
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpixel.cache import Cache, Site
from nextpixel.conditions.values import Values, ValuesLike, broadcast
from nextpixel.devices import full_precision
from nextpixel.front import Front, Skew
from nextpixel.layers.heads import Distribution
from nextpixel.models.core import (
    AutoregressiveModel,
    ImageModel,
    Scale,
    check_values,
    evaluating,
    rows_per_pass,
)

__all__ = ["Part", "Plan", "Sites", "Step", "fronts", "walk"]

# From this many lanes on, several threads made steps of 54 features faster (benchmarks/sampling.py
# --threads 2).
_THREADED_LANES = 64


def walk(
    model: ImageModel,
    x: Tensor,
    condition: ValuesLike = None,
    *,
    rows: Bool[Tensor, " H"] | None = None,
) -> Iterator[tuple[Site, Tensor]]:
    """Visits the sites of x in the model's order, each with the distribution of its value.

    The arithmetic is about that of one full pass: the maps of earlier sites are kept (`Cache`). The
    model is in evaluation mode until the walk ends. On the CPU, small batches are walked on one
    thread, which is set for the whole process until the walk ends: tiny steps gain nothing from
    several threads, and on a busy machine become ten times slower.

    Args:
        model: the distribution.
        x: images (B, C, H, W), integers. At a site everything earlier must be in place; the rest is
            not read.
        condition: a value for each image; several conditions are a tuple.
        rows: which rows to visit; the others are taken from x as they stand, many at a time. None
            visits all.

    Raises:
        ValueError: x or the condition does not fit the model.
        TypeError: x does not hold integers.

    Yields:
        The site and its log-probabilities (B, levels) in nats. Write the chosen values into x
        before going on.
    """
    for step, log_pmf in _checked_steps(model, x, condition, rows, raster=True):
        sites = step.sites()
        yield Site(step.channel, int(sites.rows), int(sites.columns)), log_pmf


@dataclass(frozen=True)
class Sites:
    """Sites of one colour that are visited together.

    Attributes:
        channel: their colour.
        rows, columns: of each, (k,).
    """

    channel: int
    rows: Tensor
    columns: Tensor


def fronts(
    model: ImageModel,
    x: Tensor,
    condition: ValuesLike = None,
    *,
    rows: Bool[Tensor, " H"] | None = None,
) -> Iterator[tuple[Sites, Tensor]]:
    """Visits the sites of x, as many at once as do not depend on each other.

    The distributions are those of `walk`, in fewer steps: W + lag · (H - 1) for every colour
    instead of H · W, where lag is one more than the columns that the model sees to the right in the
    rows above. A model that sees all of them, such as `DiagonalBiLSTM`, has one site a step.

    Args:
        model, x, condition, rows: as for `walk`.

    Raises:
        ValueError, TypeError: as `walk`.

    Yields:
        The sites and their log-probabilities (B, k, levels) in nats. Write the chosen values (B, k)
        into x before going on::

            x[:, sites.channel, sites.rows, sites.columns] = ...
    """
    for step, log_pmf in _checked_steps(model, x, condition, rows, raster=False):
        lanes = log_pmf.unflatten(0, (-1, len(x)))
        yield step.sites(), lanes[step.slots].transpose(0, 1)


def _checked_steps(
    model: ImageModel, x: Tensor, condition: ValuesLike, rows: Tensor | None, *, raster: bool
) -> Iterator[tuple["Step", Tensor]]:
    model.check(x, condition)
    check_values(model, x)
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, len(x), size, model.device)
    visited = torch.ones(x.shape[2], dtype=torch.bool) if rows is None else rows.cpu()
    unknown = visited[:, None].expand(1, *x.shape[1:])
    visit = Plan(model, x, values, unknown, raster=raster).steps()
    with evaluating(model), closing(visit):
        while True:
            # Not around the yield: the caller has modes of its own.
            with torch.inference_mode(), full_precision(x.device):
                step = next(visit, None)
                if step is None:
                    return
                log_pmf = step.log_pmf()
            yield step, log_pmf


@dataclass(frozen=True)
class Step:
    """One colour of one front.

    Attributes:
        channel: the colour.
        front: where the walk is.
        distribution: of all lanes.
        wanted: which lanes have an unknown site, (lanes,).
        part: cuts (B, C, H, W) to the pixels that the front goes through.
    """

    channel: int
    front: Front
    distribution: Distribution
    wanted: Tensor
    part: "Part"

    def log_pmf(self) -> Tensor:
        """The log-probabilities of all values in every lane, (lanes, levels)."""
        front, x = self.front, self.front.x
        # What colours of a pixel that are predicted at once depend on.
        if front.colours == 1 and self.channel:
            earlier = range(self.channel)
            values = [front.flat(x, c).index_select(0, front.sites) for c in earlier]
            x = torch.stack(values, dim=1)[:, :, None, None]
        return self.distribution.log_pmf(x, self.channel).flatten(1)

    @property
    def slots(self) -> Tensor:
        """Which slots have an unknown site in some image, (n,)."""
        return self.wanted.view(self.front.skew.slots, -1).any(dim=1)

    def sites(self) -> Sites:
        """The unknown sites, by their rows and columns in the whole image."""
        rows, columns, _ = self.front.skew.pixels(torch.tensor([self.front.time]))
        slots, part = self.slots.cpu(), self.part
        rows, columns = rows[0][slots] + part.rows.start, columns[0][slots] + part.columns.start
        device = self.front.x.device
        step = part.step
        return Sites(self.channel, (rows * step).to(device), (columns * step).to(device))


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
    """

    def __init__(
        self, model: ImageModel, x: Tensor, values: Values, unknown: Tensor, *, raster: bool
    ) -> None:
        self._model, self._x, self._values = model, x, values
        self._unknown, self._raster = unknown, raster

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

    def steps(self) -> Iterator[Step]:
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
        unknown = self._wanted(scale, whole).any(dim=0).any(dim=0)
        field = scale.network.reach.field
        if field is None:
            rows = unknown.any(dim=1).nonzero().flatten().tolist()
            if rows:
                yield Part(scale.step, range(rows[-1] + 1), range(width))
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
    front = cache.enter(skew, x, model.dtype, maps=model.encoder is not None)
    single = x.device.type == "cpu" and front.lanes < _THREADED_LANES
    length = skew.block
    with _one_thread() if single else nullcontext():
        for time in skew.times:
            phase = time % length
            if phase == 0 or time == skew.times.start:
                here = _in_lanes(wanted, skew, range(time - phase, time - phase + length), len(x))
                some = here.flatten(2).any(dim=2).tolist()
                here = here.flatten(2).to(x.device)
            for channel in range(model.channels):
                if time < 0 and channel:
                    break  # before the first pixel only the rows above are prepared
                if channel < model.colours:
                    front.move_to(time, channel)
                    distribution = front.again() or model(x, values, cache)
                if some[phase][channel]:
                    yield Step(channel, front, distribution, here[phase, channel], part)


def _in_lanes(wanted: Tensor, skew: Skew, times: range, batch: int) -> Tensor:
    """Which lanes have a wanted site at each time, (T, C, n, B)."""
    rows, columns, alive = skew.pixels(torch.tensor(times))
    sites = wanted[:, :, rows, columns] & alive
    return sites.permute(2, 1, 3, 0).expand(-1, -1, -1, batch)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
