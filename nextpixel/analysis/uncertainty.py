"""How sure a mean is, also of values that are not independent."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["standard_error"]


def standard_error(values: NDArray[np.float64], clusters: NDArray[np.int64] | None = None) -> float:
    """The standard error of the mean of values (N,), which are independent between clusters.

    With G clusters it is √(G / (G - 1) · Σ_g (Σ_{i in g} (v_i - v̄))²) / N, and for clusters of one
    the usual σ / √N. NaN for fewer than two clusters.
    """
    groups = np.arange(len(values)) if clusters is None else clusters
    _, of_group = np.unique(groups, return_inverse=True)
    sums = np.bincount(of_group, weights=values - values.mean())
    count = len(sums)
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * float((sums**2).sum())) / len(values)
