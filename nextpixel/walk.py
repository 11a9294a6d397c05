"""The walk over an image: every site given all before it, with the distribution of its value.

Sampling, completing and coding are this one loop with different ways to choose the value. The loop
belongs to the caller, who writes each value into x before taking the next site::

    for site, log_pmf in walk(model, x, condition):
        x[:, site.channel, site.row, site.column] = ...

`fronts` is the same walk with as many sites at once as the model allows (`nextpixel.front.skew`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nextpixel.border import ConditionGiven, Mask, admit, checked_rows, shares_memory
from nextpixel.cache import Site
from nextpixel.errors import UsageError
from nextpixel.models.evaluation import evaluating
from nextpixel.orders import Order, known_order
from nextpixel.plan import Plan
from nextpixel.steps import Step, apart
from nextpixel.turning import turned

__all__ = ["Sites", "fronts", "walk"]


def walk(
    model: nn.Module,
    x: Tensor | NDArray[Any],
    condition: ConditionGiven = None,
    *,
    rows: Mask | None = None,
    order: Order | None = None,
) -> Iterator[tuple[Site, Tensor]]:
    """Visits the sites of x in the model's order, each with the distribution of its value.

    The arithmetic is about that of one full pass: the maps of earlier sites are kept (`Cache`).
    Dropout is off, whatever mode the model is in, and several walks may be in progress at once.
    Small steps run on one thread of the CPU; between steps everything is as the caller set it.

    Args:
        model: the distribution, or a module as for `as_model`.
        x: images (B, C, H, W), integers, in a tensor or an array to write into. At a site
            everything earlier must be in place; the rest is not read. Of one image (C, H, W), the
            log-probabilities are (levels,).
        condition: a value for each image; several conditions are a tuple.
        rows: which rows to visit; the others are taken from x as they stand, many at a time. None
            visits all.
        order: in which to visit the sites, one that the model knows; None takes the first.

    Raises:
        ValueError: x, the condition or the order does not fit the model.
        TypeError: x does not hold integers.

    Yields:
        The site and its log-probabilities (B, levels) in nats. Write the chosen values into x
        before going on.
    """
    images, steps = _checked_steps(model, x, condition, rows, order, raster=True)
    for step, log_pmf in steps:
        part, skew = step.part, step.front.skew
        row, column = divmod(step.front.time, skew.lag)  # of one slot
        row, column = row + skew.rows.start + part.rows.start, column + part.columns.start
        row, column = row * part.step, column * part.step
        site = Site(*images.upright(step.channel, row, column))
        yield site, log_pmf[0] if images.single else log_pmf
        images.take_in(step.channel, row, column)


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
    model: nn.Module,
    x: Tensor | NDArray[Any],
    condition: ConditionGiven = None,
    *,
    rows: Mask | None = None,
    order: Order | None = None,
) -> Iterator[tuple[Sites, Tensor]]:
    """Visits the sites of x, as many at once as do not depend on each other.

    The distributions are those of `walk`, in fewer steps: W + lag · (H - 1) for every colour
    instead of H · W, where lag is one more than the columns that the model sees to the right in the
    rows above. A model that sees all of them, such as `DiagonalBiLSTM`, has one site a step.

    Args:
        model, x, condition, rows, order: as for `walk`.

    Raises:
        ValueError, TypeError: as `walk`.

    Yields:
        The sites and their log-probabilities (B, k, levels) in nats. Write the chosen values (B, k)
        into x before going on::

            x[:, sites.channel, sites.rows, sites.columns] = ...
    """
    images, steps = _checked_steps(model, x, condition, rows, order, raster=False)
    for step, log_pmf in steps:
        lanes = torch.unflatten(log_pmf, 0, (step.front.skew.slots, -1))[step.slots].transpose(0, 1)
        row, column = _places(step)
        yield (
            Sites(*images.upright(step.channel, row, column)),
            lanes[0] if images.single else lanes,
        )
        images.take_in(step.channel, row, column)


@dataclass(frozen=True, eq=False)
class _Turned:
    """The images that a caller writes into, and those that a walk goes through: views, or copies.

    Attributes:
        x: as the caller has them.
        seen: turned to the order.
        order: in which they are gone through.
        single: whether one image without a batch dimension was given.
    """

    x: Tensor
    seen: Tensor
    order: Order
    single: bool

    def upright(self, channel: int, row: Any, column: Any) -> tuple[int, Any, Any]:
        """Where sites of the turned images are in x."""
        back, size = self.order.back, (self.seen.shape[2], self.seen.shape[3])
        return back.colour(channel), *back.pixel(row, column, size)

    def take_in(self, channel: int, row: Any, column: Any) -> None:
        """Copies what the caller has written at sites of the turned images."""
        if self.order.copies:
            colour, above, left = self.upright(channel, row, column)
            self.seen[:, channel, row, column] = self.x[:, colour, above, left]


def _checked_steps(
    model: nn.Module, x: Any, condition: Any, rows: Any, order: Order | None, *, raster: bool
) -> tuple[_Turned, Iterator[tuple[Step, Tensor]]]:
    """The images, and the steps through them."""
    given = admit(model, x, condition)
    if not shares_memory(x, given.x):
        raise UsageError(
            "‹x› must be a tensor or a writeable array of a type that torch computes with, such as"
            " int64: a walk reads the values that are written into it"
        )
    x, order = given.x, known_order(given.model.orders, order)
    unknown = order.turn(checked_rows(rows, x.shape[2])[:, None].expand(1, *x.shape[1:]))
    seen, values = turned(given.model, [order] * len(x), x, given.values)
    plan = Plan(evaluating(given.model), seen, values, unknown, raster=raster)
    steps = apart(((step, step.log_pmf()) for step in plan.steps()), x.device)
    return _Turned(x, seen, order, given.single), steps


def _places(step: Step) -> tuple[Tensor, Tensor]:
    """The rows and columns of the unknown sites in the whole turned images."""
    rows, columns, _ = step.front.skew.pixels(torch.tensor([step.front.time], device="cpu"))
    slots, part = step.slots.cpu(), step.part
    rows, columns = rows[0][slots] + part.rows.start, columns[0][slots] + part.columns.start
    device = step.front.x.device
    apart = part.step
    return (rows * apart).to(device), (columns * apart).to(device)
