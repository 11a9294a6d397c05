"""What a walk visits, and in which steps.

Known pixels outside the field of every unknown site are left out; rows without unknown sites are
taken in many at a time; the others are gone through by fronts (`nextpixel.front.skew`), or in
raster order, and their unknown sites are visited.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor

from nextpixel.cache import Cache
from nextpixel.conditions.values import Values, map_values
from nextpixel.front.boxes import boxes, runs
from nextpixel.front.place import Front
from nextpixel.front.skew import Lanes, Skew
from nextpixel.layers.conditioning import Encoded
from nextpixel.models.core import ImageModel, RasterModel, Scale, rows_per_pass
from nextpixel.models.own_steps import check_steps, say_cost
from nextpixel.models.wrapping import is_ours, replays_of
from nextpixel.steps import Group, Part, Step, Visit

__all__ = ["Plan"]

# From this many lanes on, several threads made steps of 54 features faster (benchmarks/sampling.py
# --threads 2).
_THREADED_LANES = 64


class Plan:
    """What to visit for the unknown sites of images, and in which steps.

    Known pixels outside the field of every unknown site are left out; rows without unknown sites
    are taken in many at a time; of the others only the unknown sites are visited.

    Args:
        model: the distribution.
        x: images (B, C, H, W).
        values: the model's conditions for each of them, and what it is told of turned images.
        unknown: sites to visit, (B or 1, C, H, W), on the CPU.
        raster: whether to visit one site at a time, in the model's order.
        weighed: known sites to visit, too; None for none.
        copies: how many copies of each image, side by side, go through each group instead of it.
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
        weighed: Tensor | None = None,
        copies: int = 1,
        lags: Mapping[int, int] | None = None,
    ) -> None:
        self._model, self._x, self._values = model, x, model.with_told(x, values)
        self._unknown, self._weighed, self._raster = unknown, weighed, raster
        self._visited = unknown if weighed is None else unknown | weighed
        self._copies, self._lags = copies, lags

    def __len__(self) -> int:
        """How many steps there are."""
        count = 0
        for scale in self._model.scales():
            for part in self._parts(scale):
                visited = self._of_scale(self._visited, scale, part).any(dim=0)
                for skew in self._skews(scale, part):
                    rows, columns, alive = skew.pixels(torch.tensor(skew.times, device="cpu"))
                    count += int((visited[:, rows, columns] & alive).any(dim=2).sum())
        return count

    def steps(self) -> Generator[Step, None, None]:
        """Visits all unknown sites; at a step those of earlier steps must be in place in x.

        Small steps run on one thread, until the last: take them within `OwnThreads`, as `apart` is.
        """
        for group in self.groups():
            for visit in group.visits:
                yield from visit.steps(None)

    def groups(self) -> Iterator[Group]:
        """What can be gone through independently: with copies, the parts of a single scale.

        Raises:
            UsageError: steps of a network of a user's own are not what its full pass gives.
        """
        for scale in self._model.scales():
            if scale.network.steps_are_passes:
                say_cost(len(self))
            elif not is_ours(scale.network):
                check_steps(scale.network, self._x, self._of_network)
        whole = Part(1, range(self._x.shape[2]), range(self._x.shape[3]))
        if self._copies == 1:
            yield Group(whole, self._x, self._visits(self._x, self._values, 1))
        elif len(list(self._model.scales())) > 1:
            x, values = _repeated(self._copies, self._x), self._repeated_values()
            yield Group(whole, x, self._visits(x, values, 1))
        else:
            for visit in self._visits(self._x, self._repeated_values(), self._copies):
                alone = visit._replace(part=Part(1, *map(_from_zero, visit.part[1:])))
                yield Group(visit.part, visit.x, [alone])

    def _of_network(
        self, network: RasterModel, x: Tensor, values: Values, unknown: Tensor
    ) -> Iterator[Step]:
        """The steps by which a network alone would go through other images."""
        plan = Plan(network, x, values, unknown, raster=self._raster)
        return (step for visit in plan._visits(x, values, 1) for step in visit.steps(None))

    def _repeated_values(self) -> Values:
        return map_values(partial(_repeated, self._copies), self._values)

    def _visits(self, images: Tensor, values: Values, copies: int) -> Iterator[Visit]:
        """The parts of images, or of so many copies of each, in an order in which to visit them."""
        for scale in self._model.scales():
            network, given = scale.network, scale.given(images, values)
            encoded: Encoded | None = None
            for part in self._parts(scale):
                if network.encoder is not None and encoded is None:
                    sides = (len(range(0, side, scale.step)) for side in images.shape[2:])
                    encoded = network.encoder(given, *sides)
                x = _repeated(copies, part.of(images))
                yield Visit(part, x, partial(self._steps, scale, part, x, given, encoded))

    def _steps(
        self,
        scale: Scale,
        part: Part,
        x: Tensor,
        given: Values,
        encoded: Encoded | None,
        complete: Callable[[Front], None] | None,
    ) -> Iterator[Step]:
        network = scale.network
        cache = Cache(len(x), network.colours, x.shape[2], x.shape[3])
        if encoded is not None:
            cache.state(network.encoder, partial(encoded.part, part.rows, part.columns))
        wanted = self._of_scale(self._unknown, scale, part)
        weighed = None
        if self._weighed is not None:
            weighed = self._of_scale(self._weighed, scale, part)
        for skew in self._skews(scale, part):
            _take_in(network, x, given, cache, skew.rows.start)
            front = cache.enter(
                skew,
                x,
                network.dtype,
                maps=network.encoder is not None,
                replays=replays_of(network),
            )
            if encoded is not None and scale.coarser is not None:
                # Images that were drawn apart differ in what their small images add.
                front.differing_maps = True
                front.at_replacements(encoded.replace)
            for step in _front_steps(network, given, cache, front, wanted, weighed, part):
                if step is not None:
                    yield step
                elif complete is not None:
                    complete(front)

    @staticmethod
    def _of_scale(sites: Tensor, scale: Scale, part: Part) -> Tensor:
        """Those of some sites that are in a part and count in its scale."""
        few = part.of(sites)
        if scale.coarser is None:
            return few
        apart = scale.coarser // scale.step
        known = few.new_zeros(few.shape[2:])
        known[-part.rows.start % apart :: apart, -part.columns.start % apart :: apart] = True
        return few & ~known

    def _parts(self, scale: Scale) -> Iterator[Part]:
        """Parts that hold unknown sites and their fields; none needs what a later one draws."""
        height, width = (len(range(0, n, scale.step)) for n in self._x.shape[2:])
        whole = Part(scale.step, range(height), range(width))
        if self._lags is not None:
            yield whole
            return
        unknown = self._of_scale(self._visited, scale, whole).any(dim=0).any(dim=0)
        field = scale.network.reach.field
        if field is None:
            last = unknown.any(dim=1).nonzero().flatten().tolist()[-1:]
            if last:
                rows = height if scale.network.steps_are_passes else last[0] + 1
                yield Part(scale.step, range(rows), range(width))
            return
        above, beside = field
        for rows, columns in boxes(unknown, above, width if self._raster else beside):
            yield Part(
                scale.step,
                range(max(0, rows.start - above), rows.stop),
                range(max(0, columns.start - beside), min(width, columns.stop + beside)),
            )

    def _skews(self, scale: Scale, part: Part) -> Iterator[Skew]:
        """How to go through the rows with unknown sites."""
        reach, width = scale.network.reach, len(part.columns)
        if self._lags is not None:
            yield Skew.behind(reach, part.rows, width, self._lags[scale.step])
            return
        # With copies, fronts are as for one image: what is drawn must not depend on the others.
        batch = self._copies if self._copies > 1 else len(self._x)
        unknown = self._of_scale(self._visited, scale, part).flatten(0, 1).any(dim=0).any(dim=1)
        # To begin anew costs a row's width; a known row in between costs its lag.
        together = 1 if self._raster or reach.lag is None else width // reach.lag + 1
        for rows in runs(unknown, together):
            yield Skew.of(reach, rows, width, batch, raster=self._raster)


def _take_in(model: RasterModel, x: Tensor, values: Values, cache: Cache, row: int) -> None:
    """Takes in the rows up to one, many at a time."""
    at_once = rows_per_pass(model, len(x), x.shape[3])
    while cache.rows.stop < row:
        cache.move_to_rows(cache.rows.stop, min(row, cache.rows.stop + at_once))
        model(x, values, cache)


def _front_steps(
    model: RasterModel,
    values: Values,
    cache: Cache,
    front: Front,
    wanted: Tensor,
    weighed: Tensor | None,
    part: Part,
) -> Iterator[Step | None]:
    """The steps of a front's rows, and None whenever all colours of a time are complete."""
    x, skew, length = front.x, front.skew, front.skew.block
    single = x.device.type == "cpu" and front.lanes < _THREADED_LANES
    with _one_thread() if single else nullcontext():
        for time in skew.times:
            phase = time % length
            if phase == 0 or time == skew.times.start:
                times = range(time - phase, time - phase + length)
                drawn = Lanes(wanted, skew, times, x)
                known = None if weighed is None else Lanes(weighed, skew, times, x)
            for channel in range(model.channels):
                if time < 0 and channel:
                    break  # before the first pixel only the rows above are prepared
                if channel < model.colours:
                    front.move_to(time, channel)
                    distribution = front.again() or model(x, values, cache)
                counted = None
                if known is not None and known.some[phase][channel]:
                    counted = known.lanes[phase][channel]
                draws, lanes = drawn.some[phase][channel], drawn.lanes[phase][channel]
                if draws or counted is not None:
                    yield Step(channel, front, distribution, lanes, draws, counted, part)
            yield None


def _repeated(copies: int, x: Tensor) -> Tensor:
    return x if copies == 1 else x.repeat_interleave(copies, dim=0)


def _from_zero(places: range) -> range:
    return range(len(places))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: tiny operations on several become ten times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
