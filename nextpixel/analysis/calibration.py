"""From scores to p-values, and to alarms at a rate that was asked for.

A score of an image is compared with the scores of n normal images that took no part in training
(Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005; Bates et al., *Testing
for Outliers with Conformal p-values*, 2023):

    p = (1 + number of the n scores that are at least as high) / (n + 1)

If the image is normal, that is exchangeable with the n, then P(p ≤ α) ≤ α for every α and every
n, whatever the model is and however scores are distributed. The probability is over the image and
the n; for given n images, the true rate of false alarms varies about α, see `false_alarm_bound`.

Several scores are combined by the smallest p, times their number (Bonferroni), which keeps the
guarantee and, unlike sums of ranks, lets one telling score decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
        raise NotImplementedError

    def quantiles(self, column: str, scores: Scores) -> NDArray[np.float64]:
        """The share of the normal images whose score is lower, 0 … 1."""
        raise NotImplementedError

    def combined(self, scores: Mapping[str, Scores]) -> NDArray[np.float64]:
        """The p-value of each image by several columns: the smallest, times their number.

        Raises:
            UsageError: as `p_values`; or no column is given, or their lengths differ.
        """
        raise NotImplementedError

    def threshold(self, column: str, alarm_rate: float) -> float:
        """The score from which on p ≤ alarm_rate, so that an image raises an alarm above it.

        Alarms are raised for scores greater than this value.

        Raises:
            UsageError: the rate is out of range, or the images are too few for it: see
                `images_needed`.
        """
        raise NotImplementedError

    def alarms(self, scores: Mapping[str, Scores], alarm_rate: float) -> NDArray[np.bool_]:
        """Which images raise an alarm: combined p ≤ alarm_rate.

        Of normal images at most this share does, in expectation.

        Raises:
            UsageError: as `combined` and `threshold`.
        """
        raise NotImplementedError


def calibrate(scores: Mapping[str, Scores]) -> Calibration:
    """Keeps the scores of normal images, by columns of equal length.

    The images must not have been trained on, nor used to fit a `Typicality`.

    Raises:
        UsageError: there are no scores, their lengths differ, or one is NaN.
    """
    raise NotImplementedError


def images_needed(alarm_rate: float, columns: int = 1) -> int:
    """How many normal images a rate of alarms needs: with fewer, no p-value is small enough.

    The smallest p is columns / (n + 1), so n ≥ columns / alarm_rate - 1.
    """
    raise NotImplementedError


def false_alarm_bound(images: int, alarm_rate: float, confidence: float = 0.95) -> float:
    """What the true rate of false alarms stays below, with a confidence, for given normal images.

    Of n images the ⌊α(n + 1)⌋-th highest score is the threshold. For continuous scores the rate
    of false alarms is then distributed as Beta(k, n + 1 - k), k = ⌊α(n + 1)⌋; this is its quantile.
    """
    raise NotImplementedError


def save_calibration(calibration: Calibration, path: str | Path) -> None:
    """Writes it to a safetensors file, with digests."""
    raise NotImplementedError


def load_calibration(path: str | Path) -> Calibration:
    """Reads what `save_calibration` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    raise NotImplementedError
