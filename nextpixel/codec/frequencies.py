"""From the outputs of an exact model to integer frequencies, by integer arithmetic alone.

What frequencies are is in `codec.cumulative`. The distribution function of a softmax adds up
exponentials from a table; that of a mixture is in `codec.mixture`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from nextpixel.codec.cumulative import Cumulative, Finder, Integers, blocks, precision
from nextpixel.codec.mixture import mixtures
from nextpixel.codec.tables import STEPS, exponential
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.layers.heads import Bernoulli, Categorical, LogisticMixture

__all__ = ["cumulative", "every_cumulative", "frequencies"]


def every_cumulative(
    distribution: Distribution, values: Integers, sites: Integers | None = None
) -> Iterator[Cumulative]:
    """The distributions of an exact model's sites, of one colour after another.

    Args:
        distribution: of a block of sites (B, C, H, W), or of one colour of them.
        values: of each colour, (C, n); one is read when the next distribution is asked for.
        sites: which of the sites, by their places in the order (B, H, W); None for all.

    Raises:
        UsageError: a model's distribution is of no known kind.
    """
    if isinstance(distribution, LogisticMixture):
        yield from mixtures(distribution, values, sites)
    elif isinstance(distribution, Categorical | Bernoulli):
        logits = distribution.logits
        if isinstance(distribution, Bernoulli):
            logits = torch.stack([torch.zeros_like(logits), logits], dim=2)
        for of_colour in logits.unbind(1):
            found = _Softmax(of_colour.float().cpu().permute(0, 2, 3, 1).flatten(0, 2))
            yield found if sites is None else found.part(sites)
    else:
        raise UsageError(
            f"a {type(distribution).__name__} has no exact frequencies; compress with a model whose"
            " head is softmax, bernoulli or logistic"
        )


def cumulative(distribution: Distribution, x: Tensor, channel: int) -> Cumulative:
    """The distributions of one colour: arguments as for `Distribution.log_pmf`."""
    values = x.movedim(1, 0).flatten(1).cpu().numpy().astype(np.int64)
    one = isinstance(distribution, Categorical | Bernoulli) and distribution.logits.shape[1] == 1
    return next(islice(every_cumulative(distribution, values), 0 if one else channel, None))


def frequencies(distribution: Distribution, x: Tensor, channel: int) -> Int64[Tensor, "B L H W"]:
    """The integer frequencies of all values of one colour; they add up to 2^`precision(levels)`.

    Arguments as for `Distribution.log_pmf`; the distribution is that of a model of
    `nextpixel.codec.exact`. The frequencies are a function of its integers alone.
    """
    found = cumulative(distribution, x, channel)
    rows = torch.from_numpy(np.diff(found.rows(), axis=1))
    batch, _, height, width = x.shape
    return rows.view(batch, height, width, found.levels).permute(0, 3, 1, 2)


class _Softmax(Cumulative):
    """Of a softmax of logits (n, L), multiples of 2^-10 within ±2^11: float32 holds them."""

    def __init__(self, logits: Tensor) -> None:
        self._logits, self.levels = logits, logits.shape[1]

    def __len__(self) -> int:
        return len(self._logits)

    def part(self, sites: slice | Integers) -> "_Softmax":
        return _Softmax(
            self._logits[sites if isinstance(sites, slice) else torch.from_numpy(sites)]
        )

    def at(self, values: Integers) -> Integers:
        found = np.empty_like(values)
        for some in blocks(len(self), self.levels):
            scaled, total = self.part(some)._scaled()
            before = np.take_along_axis(scaled, (values[some] - 1).clip(min=0), axis=1)
            np.floor_divide(before * (values[some] > 0), total, out=found[some])
        return found

    def finder(self) -> Finder:
        scaled, of_sites = self._scaled()
        flat, levels, totals = scaled.reshape(-1).data, self.levels, of_sites.tolist()

        def find(site: int, number: int) -> tuple[int, int, int]:
            first, (total,) = site * levels, totals[site]
            last = first + levels - 1
            at = bisect_right(flat, number * total + total - 1, first, last)
            return at - first, flat[at - 1] // total if at > first else 0, flat[at] // total

        return find

    def _scaled(self) -> tuple[Integers, Integers]:
        """F(v) · C(L) of v = 1 … L before F is rounded down, (n, L), and C(L), (n, 1).

        It is v · C(L) + C(v) · (2^P - L), less than 2^63: only what is asked for is divided.
        """
        table = _exponential(max(0, (self.levels - 1).bit_length() - _TABLE_BITS))
        below = self._logits.amax(dim=1, keepdim=True) - self._logits
        places = below.mul_(STEPS).clamp_(max=len(table) - 1).int()
        counts = table.index_select(0, places.flatten()).view(places.shape).cumsum_(dim=1)
        total = counts[:, -1:].clone()
        counts.mul_((1 << precision(self.levels)) - self.levels)
        counts.addcmul_(torch.arange(1, self.levels + 1, device="cpu"), total)
        return counts.numpy(), total.numpy()


_TABLE_BITS = 10  # of levels: their sum of 28 bits each, times 2^24, is less than 2^63


@lru_cache(maxsize=4)
def _exponential(less: int) -> Tensor:
    """`tables.exponential` without its last bits."""
    return torch.from_numpy(exponential() >> less)
