"""Whether two sets of pictures have scores of one distribution: a two-sample test.

The statistic is that of Kolmogorov and Smirnov, the largest difference of the two empirical
distribution functions; its p-value is that of a permutation test. If pictures are exchangeable,
P(p ≤ α) ≤ α for every α, for every number of pictures and with ties (Phipson and Smyth,
*Permutation P-values Should Never Be Zero*, 2010).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.arguments import whole_number
from nextpixel.errors import UsageError

__all__ = ["TwoSamples", "two_samples"]

_BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class TwoSamples:
    """How much higher scores are in one set than in another, and whether that is chance.

    Attributes:
        counts: the number of scores in each.
        medians: of each.
        higher: P(a > b) + P(a = b) / 2 for a of the first and b of the second: 0.5 if neither is
            higher. It is the statistic of Mann and Whitney, U / (n m).
        distance: the statistic of Kolmogorov and Smirnov, 0 … 1.
        p_value: of `distance`.
    """

    counts: tuple[int, int]
    medians: tuple[float, float]
    higher: float
    distance: float
    p_value: float


def two_samples(first: Any, second: Any, *, permutations: int = 9999, seed: int = 0) -> TwoSamples:
    """Test whether two samples of real numbers are of one distribution.

    Args:
        first, second: one number for each picture.
        permutations: the smallest p-value is 1 / (permutations + 1).
        seed: of the permutations.

    Raises:
        UsageError: a sample is empty, or holds NaN.

    Example:
        >>> found = two_samples([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], permutations=999)
        >>> found.higher, found.distance
        (0.0, 1.0)
    """
    permutations = whole_number("permutations", permutations, 1)
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    for name, values in (("first", a), ("second", b)):
        if values.ndim != 1 or not len(values) or np.isnan(values).any():
            raise UsageError(f"‹{name}› must be a sequence of numbers without NaN, and not empty")
    order = np.argsort(np.concatenate([a, b]), kind="stable")
    pooled = np.concatenate([a, b])[order]
    of_first = order < len(a)
    # Distribution functions are compared behind the last of equal values.
    last = np.append(pooled[1:] != pooled[:-1], True)
    observed = float(_distance(of_first[None], len(a), len(b), last)[0])
    generator, reached = np.random.default_rng(seed), 0
    at_once = max(1, _BLOCK // len(pooled))
    for begin in range(0, permutations, at_once):
        count = min(at_once, permutations - begin)
        shuffled = generator.permuted(np.broadcast_to(of_first, (count, len(pooled))), axis=1)
        # Equal distances may differ in their last bits.
        reached += int((_distance(shuffled, len(a), len(b), last) >= observed - 1e-12).sum())
    sorted_b = np.sort(b)
    below = np.searchsorted(sorted_b, a, "left") + np.searchsorted(sorted_b, a, "right")
    return TwoSamples(
        counts=(len(a), len(b)),
        medians=(float(np.median(a)), float(np.median(b))),
        higher=float(below.mean() / (2 * len(b))),
        distance=observed,
        p_value=(1 + reached) / (1 + permutations),
    )


def _distance(
    of_first: NDArray[np.bool_], n: int, m: int, last: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The largest difference of distribution functions, for each row of a sorted pool."""
    steps = np.where(of_first, 1 / n, -1 / m)
    found: NDArray[np.float64] = np.abs(np.cumsum(steps, axis=1)[:, last]).max(axis=1)
    return found
