"""From scores to p-values, and to alarms at a rate that was asked for.

A score of an image is compared with the scores of n normal images that took no part in training
(Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005; Bates et al., *Testing
for Outliers with Conformal p-values*, 2023):

    p = (1 + number of the n scores that are at least as high) / (n + 1)

If the image is normal, that is exchangeable with the n, then P(p ≤ α) ≤ α for every α and every
n, whatever the model is and however scores are distributed. The probability is over the image and
the n; for given n images, the true rate of false alarms varies about α, see `false_alarm_bound`.

Several scores are combined by the smallest p, divided by the share of each score in the rate of
alarms (Bonferroni), which keeps the guarantee and, unlike sums of ranks, lets one telling score
decide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextpixel.arguments import instance_of, is_number, path_of, shown, whole_number
from nextpixel.border import tensor_of
from nextpixel.errors import UsageError
from nextpixel.files.fields import CheckpointError
from nextpixel.files.tensors import read_tensors, write_tensors

__all__ = [
    "Calibration",
    "calibrate",
    "false_alarm_bound",
    "images_needed",
    "load_calibration",
    "save_calibration",
]

Scores = Tensor | NDArray[Any] | Sequence[float]
"""One number for each image; the higher, the stranger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """The scores of normal images that took no part in training.

    Attributes:
        scores: for each column by its name, n scores in ascending order, float64.
    """

    scores: Mapping[str, NDArray[np.float64]]

    @property
    def images(self) -> int:
        """How many normal images there are, n."""
        return len(next(iter(self.scores.values())))

    def p_values(self, column: str, scores: Scores) -> NDArray[np.float64]:
        """The conformal p-value of each score: the smaller, the stranger.

        Raises:
            UsageError: the column is unknown, or a score is NaN.
        """
        known, given = self._column(column), _numbers(column, scores)
        lower = np.searchsorted(known, given, side="left")
        return ((1 + len(known) - lower) / (len(known) + 1)).astype(np.float64)

    def quantiles(self, column: str, scores: Scores) -> NDArray[np.float64]:
        """The share of the normal images whose score is lower, 0 … 1."""
        known = self._column(column)
        lower = np.searchsorted(known, _numbers(column, scores), side="left")
        return (lower / len(known)).astype(np.float64)

    def combined(
        self, scores: Mapping[str, Scores], shares: Mapping[str, float] | None = None
    ) -> NDArray[np.float64]:
        """The p-value of each image by several columns: the smallest p / share, at most 1.

        Args:
            scores: for each column.
            shares: how much of the rate of alarms each column has; they add up to 1 at most. None
                gives all the same share.

        Raises:
            UsageError: as `p_values`; or no column is given, their lengths differ, or the shares
                are not those of the columns.
        """
        if not scores:
            raise UsageError("‹scores› has no columns; give at least one of those calibrated")
        parts = _shares(scores, shares)
        every = {name: self.p_values(name, values) / parts[name] for name, values in scores.items()}
        _check_lengths(every)
        least: NDArray[np.float64] = np.min(list(every.values()), axis=0)
        return np.minimum(1, least)

    def threshold(self, column: str, alarm_rate: float) -> float:
        """The score from which on p ≤ alarm_rate, so that an image raises an alarm above it.

        Alarms are raised for scores greater than this value.

        Raises:
            UsageError: the rate is out of range, or the images are too few for it: see
                `images_needed`.
        """
        known = self._column(column)
        return float(known[len(known) - self._alarms_among(alarm_rate, 1.0)])

    def alarms(
        self,
        scores: Mapping[str, Scores],
        alarm_rate: float,
        shares: Mapping[str, float] | None = None,
    ) -> NDArray[np.bool_]:
        """Which images raise an alarm: combined p ≤ alarm_rate.

        Of normal images at most this share does, in expectation.

        Raises:
            UsageError: as `combined` and `threshold`; no column has enough images for its share.
        """
        combined = self.combined(scores, shares)
        self._alarms_among(alarm_rate, max(_shares(scores, shares).values()))
        return combined <= alarm_rate * (1 + 1e-12)

    def _column(self, name: str) -> NDArray[np.float64]:
        if name not in self.scores:
            known = ", ".join(self.scores)
            raise UsageError(f"‹column={shown(name)}› is not calibrated; there are: {known}")
        return self.scores[name]

    def _alarms_among(self, alarm_rate: float, share: float) -> int:
        """How many of the normal images, at most, are as strange as to raise an alarm."""
        most = _rank(_rate(alarm_rate) * share, self.images)
        if most < 1:
            raise UsageError(
                f"‹alarm_rate={alarm_rate}› needs at least {images_needed(alarm_rate, share):,}"
                f" normal images, but there are {self.images:,}; score more, or allow more alarms"
            )
        return most


def calibrate(scores: Mapping[str, Scores]) -> Calibration:
    """Keeps the scores of normal images, by columns of equal length.

    The images must not have been trained on, nor used to fit a `Typicality`.

    Raises:
        UsageError: there are no scores, their lengths differ, or one is NaN.
    """
    if not isinstance(scores, Mapping) or not scores:
        raise UsageError(f"‹scores› must map names of columns to scores, not {shown(scores)}")
    columns = {name: np.sort(_numbers(name, values)) for name, values in scores.items()}
    _check_lengths(columns)
    if not len(next(iter(columns.values()))):
        raise UsageError("‹scores› are of no image; give those of at least one normal image")
    return Calibration(scores=columns)


def images_needed(alarm_rate: float, share: float = 1.0) -> int:
    """How many normal images a rate of alarms needs: with fewer, no p-value is small enough.

    The smallest p of a column with a share of the rate is 1 / (n + 1) / share, so
    n ≥ 1 / (share · alarm_rate) - 1.
    """
    return max(1, math.ceil(1 / (_share(share) * _rate(alarm_rate)) - 1 - 1e-9))


def false_alarm_bound(images: int, alarm_rate: float, confidence: float = 0.95) -> float:
    """What the true rate of false alarms stays below, with a confidence, for given normal images.

    Of n images the ⌊α(n + 1)⌋-th highest score is the threshold. For continuous scores the rate
    of false alarms is then distributed as Beta(k, n + 1 - k), k = ⌊α(n + 1)⌋; this is its quantile.
    """
    n = whole_number("images", images, 1)
    if not (is_number(confidence) and 0 < confidence < 1):
        raise UsageError(f"‹confidence={shown(confidence)}› must be between 0 and 1")
    k = _rank(alarm_rate, n)
    if k == 0:
        return 0.0  # no alarm is ever raised
    low, high = 0.0, 1.0
    for _ in range(60):  # P(Beta(k, n+1-k) ≤ r) = P(Binomial(n, r) ≥ k) grows with r
        middle = (low + high) / 2
        low, high = (low, middle) if _at_least(k, n, middle) >= confidence else (middle, high)
    return high


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Writes it to a safetensors file, with digests."""
    instance_of("calibration", calibration, Calibration, "calibrate makes one")
    # Columns have numbers in the file, as their names may hold anything.
    tensors = {f"{k}": torch.from_numpy(v) for k, v in enumerate(calibration.scores.values())}
    write_tensors(path_of("path", path), tensors, {"calibration": list(calibration.scores)})


def load_calibration(path: str | Path) -> Calibration:
    """Reads what `save_calibration` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    tensors, header = read_tensors(path_of("path", path))
    names = header.metadata.get("calibration")
    if not isinstance(names, list) or set(tensors) != {f"{k}" for k in range(len(names))}:
        raise CheckpointError(f"{path} is a file of nextpixel, but not a calibration")
    try:
        return calibrate({f"{name}": tensors[f"{k}"] for k, name in enumerate(names)})
    except UsageError as error:
        raise CheckpointError(f"{path} is no calibration that calibrate made: {error}") from error


def _numbers(name: str, scores: Scores) -> NDArray[np.float64]:
    numbers = tensor_of(name, scores).detach().cpu().double().numpy()
    if numbers.ndim != 1 or np.isnan(numbers).any():
        what = "a NaN" if numbers.ndim == 1 else f"the shape {numbers.shape}"
        raise UsageError(f"the scores ‹{name}› have {what}; give one number for each image")
    return numbers


def _check_lengths(columns: Mapping[str, NDArray[np.float64]]) -> None:
    if len(lengths := {len(values): name for name, values in columns.items()}) > 1:
        (first, one), (second, other), *_ = lengths.items()
        raise UsageError(
            f"‹scores› has {first} scores of {one} but {second} of {other}; give one of each image"
        )


def _rate(alarm_rate: float) -> float:
    if not (is_number(alarm_rate) and 0 < alarm_rate < 1):
        raise UsageError(
            f"‹alarm_rate={shown(alarm_rate)}› must be between 0 and 1; 0.01 allows one false alarm"
            " among a hundred normal images"
        )
    return alarm_rate


def _shares(scores: Mapping[str, Scores], shares: Mapping[str, float] | None) -> dict[str, float]:
    """The share of each column in the rate of alarms."""
    if shares is None:
        return dict.fromkeys(scores, 1 / len(scores))
    if not isinstance(shares, Mapping) or set(shares) != set(scores):
        raise UsageError(f"‹shares={shown(shares)}› must name the columns {', '.join(scores)}")
    found = {name: _share(share) for name, share in shares.items()}
    if sum(found.values()) > 1 + 1e-9:
        raise UsageError(f"‹shares={shown(shares)}› must add up to 1 at most")
    return found


def _share(share: float) -> float:
    if not (is_number(share) and 0 < share <= 1):
        raise UsageError(f"a share of the rate of alarms, {shown(share)}, must be in (0, 1]")
    return share


def _rank(alarm_rate: float, images: int) -> int:
    """⌊α(n + 1)⌋, so that p ≤ α exactly for as many ranks."""
    return math.floor(_rate(alarm_rate) * (images + 1) + 1e-9)


def _at_least(k: int, n: int, rate: float) -> float:
    """P(Binomial(n, rate) ≥ k)."""
    if rate in (0, 1):
        return rate
    below = np.arange(k)
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in below]
    terms = np.array(logs) + below * math.log(rate) + (n - below) * math.log1p(-rate)
    return 1 - float(np.exp(terms).sum())
