"""From scores to p-values, and to alarms at a rate that was asked for.

A score of an image is compared with the scores of n normal images that took no part in training
(Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005; Bates et al., *Testing
for Outliers with Conformal p-values*, 2023):

    p = (1 + number of the n scores that are at least as high) / (n + 1)

If the image is normal, that is exchangeable with the n, then P(p ≤ α) ≤ α for every α and every
n, whatever the model is and however scores are distributed. The probability is over the image and
the n; for given n images, the true rate of false alarms varies about α, see `false_alarm_bound`.

Several scores are combined by ranks. The image and the n are ranked together by each score, the
strangest first; what counts of each of the n + 1 is its smallest rank / weight; and

    p = number of the n + 1 whose smallest rank / weight is at most that of the image / (n + 1)

As the n + 1 are treated alike, the guarantee holds as for one score, whatever the scores have to do
with each other. Unlike sums of ranks, this lets one telling score decide; and the smallest p is
1 / (n + 1), where the smallest p-value of several scores times their number, Bonferroni's, allows
fewer alarms than were asked for.
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
    "images_needed_alone",
    "least_alarm_rate",
    "load_calibration",
    "save_calibration",
]

_CELLS = 1 << 22
"""Comparisons of an image and a normal one in a column that are held in memory at once."""

Scores = Tensor | NDArray[Any] | Sequence[float]
"""One number for each image; the higher, the stranger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """The scores of normal images that took no part in training.

    Attributes:
        scores: for each column by its name, n scores in the order of the images, float64.
    """

    scores: Mapping[str, NDArray[np.float64]]

    @property
    def images(self) -> int:
        """How many normal images there are, n."""
        return len(next(iter(self.scores.values())))

    def p_values(self, column: str, scores: Scores, *, within: float = 0.0) -> NDArray[np.float64]:
        """The conformal p-value of each score: the smaller, the stranger.

        Args:
            column: its name.
            scores: of images.
            within: which differences count as none, as rounding may cause them, in units of 1 + the
                size of the score. P-values are never smaller for it.

        Raises:
            UsageError: the column is unknown, a score is NaN, or `within` is negative.
        """
        as_high = _as_high(self._column(column), _lowered(_numbers(column, scores), within))
        return ((1 + as_high) / (self.images + 1)).astype(np.float64)

    def quantiles(self, column: str, scores: Scores, *, within: float = 0.0) -> NDArray[np.float64]:
        """The share of the normal images whose score is lower, 0 … 1; see `p_values`."""
        as_high = _as_high(self._column(column), _lowered(_numbers(column, scores), within))
        return (1 - as_high / self.images).astype(np.float64)

    def combined(
        self,
        scores: Mapping[str, Scores],
        weights: Mapping[str, float] | None = None,
        *,
        within: Mapping[str, float] | None = None,
    ) -> NDArray[np.float64]:
        """The p-value of each image by several columns together.

        The image and the n normal ones are ranked together in every column, and the smallest
        rank / weight of the image is compared with those of the n, as the module describes. With
        one column this is `p_values`.

        Args:
            scores: for each column.
            weights: how much each column counts; only their ratios matter. None weighs all alike.
            within: for each column, as for `p_values`; the n + 1 are still treated alike. None
                compares exactly.

        Raises:
            UsageError: as `p_values`; or no column is given, their lengths differ, or the weights
                or `within` are not those of the columns.
        """
        if not scores:
            raise UsageError("‹scores› has no columns; give at least one of those calibrated")
        weight = _weights(scores, weights)
        given = {name: _numbers(name, values) for name, values in scores.items()}
        _check_lengths(given)
        tolerances = dict.fromkeys(scores, 0.0) if within is None else within
        if not isinstance(tolerances, Mapping) or set(tolerances) != set(scores):
            raise UsageError(f"‹within={shown(within)}› must name the columns {', '.join(scores)}")
        x = np.stack(list(given.values()))
        # How many of the n are as strange as an image, and how many are as strange as each of them.
        columns = {name: self._column(name) for name in given}
        own, known = (
            {name: _lowered(values, tolerances[name]) for name, values in of.items()}
            for of in (given, columns)
        )
        smallest = (1 + np.stack([_as_high(columns[name], own[name]) for name in own])) / weight
        smallest = smallest.min(axis=0)
        ranks = np.stack([_as_high(columns[name], known[name]) for name in known])
        least = np.stack(list(known.values()))
        found = np.empty(x.shape[1])
        at_once = max(1, _CELLS // ranks.size)
        for start in range(0, len(found), at_once):
            some = slice(start, start + at_once)
            beside = (ranks[:, None] + (x[:, some, None] >= least[:, None])) / weight[:, :, None]
            as_strange = (beside.min(axis=0) <= smallest[some, None]).sum(axis=1)
            found[some] = (1 + as_strange) / (self.images + 1)
        return found

    def threshold(self, column: str, alarm_rate: float) -> float:
        """The score from which on p ≤ alarm_rate, so that an image raises an alarm above it.

        Alarms are raised for scores greater than this value.

        Raises:
            UsageError: the rate is out of range, or the images are too few for it: see
                `images_needed`.
        """
        known = np.sort(self._column(column))
        return float(known[len(known) - self._alarms_among(alarm_rate)])

    def alarms(
        self,
        scores: Mapping[str, Scores],
        alarm_rate: float,
        weights: Mapping[str, float] | None = None,
    ) -> NDArray[np.bool_]:
        """Which images raise an alarm: combined p ≤ alarm_rate.

        Of normal images at most this share does, in expectation.

        Raises:
            UsageError: as `combined` and `threshold`.
        """
        combined = self.combined(scores, weights)
        self._alarms_among(alarm_rate)
        return combined <= alarm_rate * (1 + 1e-12)

    def _column(self, name: str) -> NDArray[np.float64]:
        if name not in self.scores:
            known = ", ".join(self.scores)
            raise UsageError(f"‹column={shown(name)}› is not calibrated; there are: {known}")
        return self.scores[name]

    def _alarms_among(self, alarm_rate: float) -> int:
        """How many of the normal images, at most, are as strange as to raise an alarm."""
        most = _rank(alarm_rate, self.images)
        if most < 1:
            raise UsageError(
                f"‹alarm_rate={alarm_rate}› needs at least {images_needed(alarm_rate):,}"
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
    columns = {name: _numbers(name, values).copy() for name, values in scores.items()}
    _check_lengths(columns)
    if not len(next(iter(columns.values()))):
        raise UsageError("‹scores› are of no image; give those of at least one normal image")
    return Calibration(scores=columns)


def images_needed(alarm_rate: float) -> int:
    """How many normal images a rate of alarms needs: with fewer, no p-value is small enough.

    The smallest p is 1 / (n + 1), so n ≥ 1 / alarm_rate - 1.
    """
    return max(1, math.ceil(1 / _rate(alarm_rate) - 1 - 1e-9))


def images_needed_alone(alarm_rate: float, weights: Mapping[str, float]) -> dict[str, int]:
    """For each column, how many normal images one that only this column finds strange needs.

    With so many, an image that is stranger than all of them by this column raises an alarm,
    whatever the others say. With fewer it may not: the strangest normal images by columns of
    greater weight have a smaller rank / weight, and count.
    """
    given = dict(zip(weights, _weights(weights, weights)[:, 0].tolist(), strict=True))
    before = {
        name: sum(math.floor(other / own + 1e-9) for other in given.values())
        for name, own in given.items()
    }
    return {
        name: max(1, math.ceil(ranks / _rate(alarm_rate) - 1 - 1e-9))
        for name, ranks in before.items()
    }


def least_alarm_rate(images: int) -> float:
    """The least rate that so many normal images allow, 1 / (n + 1), rounded up to two digits."""
    least = 1 / (whole_number("images", images, 1) + 1)
    unit: float = 10.0 ** (math.floor(math.log10(least)) - 1)
    return float(f"{math.ceil(least / unit - 1e-9) * unit:.2g}")


def false_alarm_bound(images: int, alarm_rate: float, confidence: float = 0.95) -> float:
    """What the true rate of false alarms stays below, with a confidence, for given normal images.

    Of n images the ⌊α(n + 1)⌋-th highest score is the threshold. For continuous scores the rate
    of false alarms is then distributed as Beta(k, n + 1 - k), k = ⌊α(n + 1)⌋; this is its quantile.
    Exact for one score; for several together it is an approximation.
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


def _weights(
    scores: Mapping[str, object], weights: Mapping[str, float] | None
) -> NDArray[np.float64]:
    """The weight of each column, (columns, 1)."""
    if weights is None:
        return np.ones((len(scores), 1))
    if not isinstance(weights, Mapping) or set(weights) != set(scores) or not weights:
        raise UsageError(f"‹weights={shown(weights)}› must name the columns {', '.join(scores)}")
    for weight in weights.values():
        if not (is_number(weight) and 0 < weight < math.inf):
            raise UsageError(f"a weight of a column, {shown(weight)}, must be a positive number")
    return np.array([[weights[name]] for name in scores])


def _as_high(known: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many of the known scores are at least as high as each of the given ones."""
    return len(known) - np.searchsorted(np.sort(known), given, side="left")


def _lowered(scores: NDArray[np.float64], within: float) -> NDArray[np.float64]:
    """What a score must reach to count as being as high as each of these."""
    if not (is_number(within) and 0 <= within < math.inf):
        raise UsageError(f"‹within={shown(within)}› must be a number from 0, such as 1e-6")
    finite = np.where(np.isfinite(scores), scores, 0.0)
    return scores - within * (1 + np.abs(finite))


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
