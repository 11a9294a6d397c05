"""Mean and variance of -log p under discretised mixtures of logistics, from few points.

Both are sums over all values of a function of p(v). Where every component is at least about a value
wide, that function is smooth, and the midpoint rule converges faster than any power of its step
(Trefethen and Weideman, *The Exponentially Convergent Trapezoidal Rule*, 2014), also in t with

    v = centre + width · sinh t,

so that points lie close together near the centre and far apart in the tails: some 40 of them
replace 256 values. Where the range ends, the first two terms of the Euler-Maclaurin series correct
the sum. Mixtures with a narrower component are summed value by value, within the window that holds
all but a bounded mass.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["logistic_moments", "pieces"]

_AT_ONCE = 1 << 16
"""How many numbers lie in the cache of a processor."""
_ELSEWHERE = 1 << 25
"""How many other devices take at once."""
_PLANNED = 2
"""Numbers for each site that are held while points are chosen."""

_FEW = 64
"""How many values are always summed one by one."""
_LEFT_OUT = 1e-5
"""The mass beyond either side of a window, which counts as that of one value; and the weight below
which the width of a component does not matter."""
_NARROWEST = 0.8
"""The scale, in values, below which values are summed one by one."""
_STEP, _STEP_OF_T = 0.8, 0.25
"""The longest steps between points: in scales of the components nearby, and of t."""
_WIDTHS = 0.05, 0.15, 40.0
"""The widths that are tried, in shares of all values; points of the last one are evenly spaced."""
_POINTS = 32, 40, 48, 64, 80, 96, 128
"""How many points there may be."""
_WINDOWS = 16, 32, 64, 128
"""How many values there may be in a window, besides all."""
# The first and third derivative where the range ends, from the first four points behind it.
_SLOPE = -71 / 24, 141 / 24, -93 / 24, 23 / 24
_THIRD = -1.0, 3.0, -3.0, 1.0


def logistic_moments(weight: Tensor, mean: Tensor, slope: Tensor, levels: int) -> Tensor:
    """Mean and variance of -log p, (2, n), of n mixtures of K discretised logistics.

    Up to 64 values are summed exactly. With more, the mean errs by a few 10⁻³ nats at most, and by
    a hundredth of it on average over sites; tests state the bounds.

    Args:
        weight: of the components, (K, n), with the sum 1.
        mean: of the components in values, on the scale of which 0 … levels-1 is the range.
        slope: the inverse of their scales in values.
        levels: the number of values. The outermost ones have all mass beyond them.
    """
    found = torch.empty(2, weight.shape[1], dtype=weight.dtype, device=weight.device)
    numbers = levels if levels <= _FEW else _PLANNED
    for some in pieces(weight.shape[1], numbers, weight.device):
        # Sites are picked from these again and again: what has gaps would be copied each time.
        w, m, s = (part[:, some].contiguous() for part in (weight, mean, slope))
        if levels <= _FEW:
            found[:, some] = _summed(w, m, s, torch.zeros_like(m[0]), levels)
        else:
            _by_points(w, m, s, levels, found[:, some])
    return found


def pieces(sites: int, numbers: int, device: torch.device) -> Iterator[slice]:
    """Slices of so many sites, each with so many numbers at once."""
    length = max(1, (_AT_ONCE if device.type == "cpu" else _ELSEWHERE) // numbers)
    for start in range(0, sites, length):
        yield slice(start, start + length)


class _Grid(NamedTuple):
    """Where a function of values is looked at, each (n,).

    Args:
        low, high: half-integers between which it is integrated; beyond them lies the mass of the
            outermost values, or next to none.
        centre, width: of v = centre + width · sinh t.
        first, last: t at `low` and `high`.
    """

    low: Tensor
    high: Tensor
    centre: Tensor
    width: Tensor
    first: Tensor
    last: Tensor


def _by_points(weight: Tensor, mean: Tensor, slope: Tensor, levels: int, found: Tensor) -> None:
    """Writes moments to `found`: sites that need about as many points are computed together."""
    grid, points, narrowest = _planned(weight, mean, slope, levels)
    left = torch.ones_like(points, dtype=torch.bool)
    smooth = narrowest >= _NARROWEST
    window = grid.high - grid.low + 2
    windows = [count for count in _WINDOWS if count < levels]
    counts = [(count, True) for count in _POINTS] + [(count, False) for count in windows]
    for count, few in [*counts, (levels, False)]:
        enough = left & smooth & (points <= count) if few else left & (window <= count)
        if not few and count == levels:
            enough = left  # also what is no number
        left = left & ~enough
        (sites,) = enough.nonzero(as_tuple=True)
        for some in pieces(len(sites), count, weight.device):
            some_sites = sites[some]
            w, m, s = (part.index_select(1, some_sites) for part in (weight, mean, slope))
            if few:
                theirs = _Grid(*(part[some_sites] for part in grid))
                found[:, some_sites] = _integrated(w, m, s, theirs, count)
            else:
                start = (grid.low[some_sites] - 0.5).floor().clamp(0, levels - count)
                found[:, some_sites] = _summed(w, m, s, start.nan_to_num(), count)


def _planned(
    weight: Tensor, mean: Tensor, slope: Tensor, levels: int
) -> tuple[_Grid, Tensor, Tensor]:
    """Grids, how many points they need, and the scales of the narrowest components."""
    lowest, highest = 0.5, levels - 1.5
    wide = slope.reciprocal()
    # Beyond its reach a component has at most its share of the mass that may be left out.
    reach = (weight * (len(weight) / _LEFT_OUT)).clamp_(min=1).log_().mul_(wide)
    low = (mean - reach).amin(dim=0).clamp_(lowest, highest - 1)
    high = torch.maximum((mean + reach).amax(dim=0).clamp_(lowest, highest), low + 1)
    sharp = weight * slope
    centre = ((sharp * mean).sum(dim=0) / sharp.sum(dim=0)).clamp_(lowest, highest)
    away = (mean.clamp(lowest, highest) - centre).square_()
    wide += (weight < _LEFT_OUT) * float(levels)
    grid, least = None, None
    for share in _WIDTHS:
        width = share * levels
        # The distance of points grows with that from the centre as √(1 + (away / width)²).
        step = (wide / (1 + away / width**2).sqrt_()).amin(dim=0) * _STEP
        first, last = ((end - centre).div_(width).asinh_() for end in (low, high))
        points = (last - first) * (width / step).clamp_(min=1 / _STEP_OF_T)
        one = _Grid(low, high, centre, torch.full_like(low, width), first, last)
        if grid is None or least is None:
            grid, least = one, points
        else:
            fewer = points < least
            grid = _Grid(*(torch.where(fewer, a, b) for a, b in zip(one, grid, strict=True)))
            least = torch.minimum(points, least)
    assert grid is not None and least is not None
    return grid, least, wide.amin(dim=0)


def _integrated(weight: Tensor, mean: Tensor, slope: Tensor, grid: _Grid, count: int) -> Tensor:
    """Moments by the midpoint rule in t with so many points."""
    step = (grid.last - grid.first) / count
    index = torch.arange(count, dtype=mean.dtype, device=mean.device)[:, None] + 0.5
    power = torch.addcmul(grid.first, index, step).mul_(math.log2(math.e)).exp2_()
    inverse = power.reciprocal()
    # Counted from the centre, so that narrow components far from 0 keep their digits.
    places = (power - inverse).mul_(grid.width / 2)
    distance = (power + inverse).mul_(grid.width / 2 * step)
    # With y = σ(u) σ(-u), a value at u has the mass σ(u+δ) - σ(u-δ) = y / (a + b y), where
    # a = 1 / (2 sinh δ), b = tanh(δ / 2), and δ is half a value in scales.
    share = weight.clamp(min=1e-30)
    a = torch.sinh(slope / 2).mul_(share).mul_(2).reciprocal_()
    b = torch.tanh(slope / 4).div_(share)
    pmf, line, y = torch.zeros_like(places), power, inverse
    for start, rise, one, other in zip(
        *map(torch.unbind, ((grid.centre - mean) * slope, slope, a, b)), strict=True
    ):
        torch.addcmul(start, places, rise, out=line).sigmoid_()
        torch.addcmul(line, line, line, value=-1, out=y)
        pmf.addcdiv_(y, torch.addcmul(one, y, other, out=line))
    tails = torch.stack(
        [
            (weight * (end - mean).mul_(rise).sigmoid_()).sum(dim=0)
            for end, rise in ((grid.low, slope), (grid.high, -slope))
        ]
    )
    tiny = torch.finfo(pmf.dtype).tiny
    log_pmf, log_tails = pmf.clamp_(min=tiny).log(), tails.clamp(min=tiny).log_()
    mass = pmf.mul_(distance)
    ends = len(_SLOPE)
    for rows, reverse in ((slice(ends), 1), (slice(count - ends, count), -1)):
        # Of these terms, the sum over values has as many, with distances of one value.
        rest = distance[rows].square().reciprocal_()
        first, third = (
            torch.tensor(part[::reverse], dtype=mean.dtype, device=mean.device)[:, None]
            for part in (_SLOPE, _THIRD)
        )
        mass[rows] *= 1 - (1 - rest) * first / 24 + (1 - rest.square()) * third * (7 / 5760)
    return _moments(torch.cat([tails, mass]), torch.cat([log_tails, log_pmf]))


def _summed(weight: Tensor, mean: Tensor, slope: Tensor, first: Tensor, count: int) -> Tensor:
    """Moments by the sum over so many values from `first` on.

    Masses are differences of the mass left of edges between values, or right of them in the upper
    half; so that they cancel in neither tail.
    """
    index = torch.arange(count - 1, dtype=mean.dtype, device=mean.device)[:, None]
    left, right = index[: count // 2], -index[count // 2 :]
    tails = torch.zeros(count - 1, mean.shape[1], dtype=mean.dtype, device=mean.device)
    line, middle, start = torch.empty_like(tails), count // 2, (first + 0.5 - mean) * slope
    lower, upper = line[:middle], line[middle:]
    for own, offset, other, rise in zip(
        *map(torch.unbind, (weight, start, -start, slope)), strict=True
    ):
        torch.addcmul(offset, left, rise, out=lower)
        torch.addcmul(other, right, rise, out=upper)
        tails.addcmul_(line.sigmoid_(), own)
    mass = torch.empty(count, mean.shape[1], dtype=mean.dtype, device=mean.device)
    mass[:middle], mass[middle + 1 :] = tails[:middle], tails[middle:]
    mass[1:middle] -= tails[: middle - 1]
    mass[middle + 1 : -1] -= tails[middle + 1 :]
    mass[middle] = weight.sum(dim=0) - mass[:middle].sum(dim=0) - mass[middle + 1 :].sum(dim=0)
    mass.clamp_(min=0)
    return _moments(mass, mass.clamp(min=torch.finfo(mass.dtype).tiny).log_())


def _moments(mass: Tensor, log_pmf: Tensor) -> Tensor:
    """Mean and variance of -log p, (2, n); `log_pmf` is overwritten."""
    entropy = -torch.linalg.vecdot(mass, log_pmf, dim=0)
    excess = log_pmf.add_(entropy)
    return torch.stack(
        [entropy, torch.linalg.vecdot(mass.mul_(excess), excess, dim=0).clamp(min=0)]
    )
