"""The walk over an image: every site in raster order, each with the distribution of its value.

Sampling, completing and coding are this one loop with different ways to choose the value. The loop
belongs to the caller, who writes each value into x before taking the next site::

    for site, log_pmf in walk(model, x, condition):
        x[:, site.channel, site.row, site.column] = ...
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from jaxtyping import Bool
from torch import Tensor

from nextpixel.cache import Cache, Site
from nextpixel.conditions.values import Values, ValuesLike, broadcast
from nextpixel.devices import full_precision
from nextpixel.models.core import (
    AutoregressiveModel,
    ImageModel,
    check_values,
    evaluating,
    rows_per_pass,
)

__all__ = ["walk"]

# From this batch size on, several threads made steps of 54 features faster (benchmarks/sampling.py
# --threads 2).
_THREADED_BATCH = 64


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
    model.check(x, condition)
    check_values(model, x)
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, len(x), size, model.device)
    visited = torch.ones(x.shape[2], dtype=torch.bool) if rows is None else rows
    single = x.device.type == "cpu" and len(x) < _THREADED_BATCH
    with evaluating(model), _one_thread() if single else nullcontext():
        for scale in model.scales():
            given = scale.given(x, values)  # a view, too
            part = x[
                :, :, :: scale.step, :: scale.step
            ]  # a view: what is written into x is read here
            for (channel, row, column), log_pmf in _raster_walk(
                scale.network, part, given, visited[:: scale.step]
            ):
                if scale.counts(row, column):
                    yield Site(channel, row * scale.step, column * scale.step), log_pmf


def _raster_walk(
    model: AutoregressiveModel, x: Tensor, values: Values, visited: Tensor
) -> Iterator[tuple[Site, Tensor]]:
    batch, channels, height, width = x.shape
    cache = Cache(batch, model.colours, height, width)
    rows_at_once = rows_per_pass(model, batch, width)
    for row in visited.nonzero().flatten().tolist():
        while cache.rows.stop < row:
            cache.move_to_rows(cache.rows.stop, min(row, cache.rows.stop + rows_at_once))
            with torch.inference_mode(), full_precision(x.device):
                model(x, values, cache)
        for column in range(width):
            pixel = x[:, :, row : row + 1, column : column + 1]
            for channel in range(channels):
                # Not around the yield: the caller has modes of its own.
                with torch.inference_mode(), full_precision(x.device):
                    if channel < model.colours:
                        cache.move_to_site(Site(channel, row, column))
                        distribution = model(x, values, cache)
                    log_pmf = distribution.log_pmf(pixel, channel)[:, :, 0, 0]
                yield Site(channel, row, column), log_pmf


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
