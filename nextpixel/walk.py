"""The walk over an image: every site given all before it, with the distribution of its value.

Sampling, completing and coding are this one loop with different ways to choose the value. The loop
belongs to the caller, who writes each value into x before taking the next site::

    for site, log_pmf in walk(model, x, condition):
        x[:, site.channel, site.row, site.column] = ...

`fronts` is the same walk with as many sites at once as the model allows (`nextpixel.front.skew`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpixel.cache import Site
from nextpixel.conditions.values import ValuesLike, broadcast
from nextpixel.models.core import ImageModel, check_values, evaluating
from nextpixel.plan import Plan, Step, apart

__all__ = ["Sites", "fronts", "walk"]


def walk(
    model: ImageModel,
    x: Tensor,
    condition: ValuesLike = None,
    *,
    rows: Bool[Tensor, " H"] | None = None,
) -> Iterator[tuple[Site, Tensor]]:
    """Visits the sites of x in the model's order, each with the distribution of its value.

    The arithmetic is about that of one full pass: the maps of earlier sites are kept (`Cache`).
    Dropout is off, whatever mode the model is in, and several walks may be in progress at once.
    Small steps run on one thread of the CPU; between steps everything is as the caller set it.

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
        part, skew = step.part, step.front.skew
        row, column = divmod(step.front.time, skew.lag)  # of one slot
        row, column = row + skew.rows.start + part.rows.start, column + part.columns.start
        yield Site(step.channel, row * part.step, column * part.step), log_pmf


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
        lanes = log_pmf.view(-1, *x.shape[:1], log_pmf.shape[1])
        yield _sites(step), lanes[step.slots].transpose(0, 1)


def _checked_steps(
    model: ImageModel, x: Tensor, condition: ValuesLike, rows: Tensor | None, *, raster: bool
) -> Iterator[tuple[Step, Tensor]]:
    model.check(x, condition)
    check_values(model, x)
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, len(x), size, model.device)
    visited = torch.ones(x.shape[2], dtype=torch.bool) if rows is None else rows.cpu()
    unknown = visited[:, None].expand(1, *x.shape[1:])
    plan = Plan(evaluating(model), x, values, unknown, raster=raster)
    yield from apart(((step, step.log_pmf()) for step in plan.steps()), x.device)


def _sites(step: Step) -> Sites:
    """The unknown sites, by their rows and columns in the whole image."""
    rows, columns, _ = step.front.skew.pixels(torch.tensor([step.front.time]))
    slots, part = step.slots.cpu(), step.part
    rows, columns = rows[0][slots] + part.rows.start, columns[0][slots] + part.columns.start
    device = step.front.x.device
    apart = part.step
    return Sites(step.channel, (rows * apart).to(device), (columns * apart).to(device))
