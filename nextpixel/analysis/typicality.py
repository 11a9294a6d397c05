"""How typical an image is as a whole, by the maps that a model computes before its head.

Local surprise does not see what is wrong with an image as a whole. The maps of a model's last
hidden layer do: of every map the mean, the deviation and the means of the four quarters are taken,
and an image is compared with normal images by the Mahalanobis distance of these numbers (Lee et
al., *A Simple Unified Framework for Detecting Out-of-Distribution Samples*, 2018, for classifiers).

The covariance is that of the standardised numbers, shrunk to the identity by the oracle
approximating rule (Chen et al., *Shrinkage Algorithms for MMSE Covariance Estimation*, 2010, eq.
23), so that a few hundred images suffice for a thousand numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from nextpixel.border import ConditionGiven, Images

__all__ = [
    "Typicality",
    "fit_typicality",
    "hidden_statistics",
    "load_typicality",
    "save_typicality",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Typicality:
    """What the hidden statistics of normal images are: their means and their covariance.

    Attributes:
        mean: of each of D numbers.
        deviation: of each number; at least a thousandth of the root mean square of all.
        correlation: their shrunk correlation matrix.
        images: how many it was fitted on.
        shrinkage: the share of the identity in `correlation`, 0 … 1.
        model: the digest of the model's weights, which `distance` compares.
    """

    mean: Float[Tensor, " D"]
    deviation: Float[Tensor, " D"]
    correlation: Float[Tensor, "D D"]
    images: int
    shrinkage: float
    model: str

    def distance(
        self, model: nn.Module, x: Images, condition: ConditionGiven = None
    ) -> Float[Tensor, " *B"]:
        """The Mahalanobis distance of each image from the normal ones, float64, on the CPU.

        Arguments are those of `bits_per_dim`.

        Raises:
            UsageError: it was fitted with another model.
        """
        raise NotImplementedError


def hidden_statistics(
    model: nn.Module, x: Images, condition: ConditionGiven = None
) -> Float[Tensor, "*B D"]:
    """Mean, deviation and quarter means of every map before the head, float64, on the CPU.

    The maps are the input of the last layer that has weights of its own; a `MultiScale` has those
    of each scale, one after another. D is 6 times their number. Arguments are those of
    `bits_per_dim`; large images are taken a few rows at a time.

    Raises:
        UsageError: as `bits_per_dim`; or no layer of a user's own module has maps (B, F, H, W).
    """
    raise NotImplementedError


def fit_typicality(
    model: nn.Module,
    images: Images | Iterable[Images],
    condition: ConditionGiven = None,
) -> Typicality:
    """What is typical of normal images, in one pass over them and in bounded memory.

    Args:
        model: any model, as for `bits_per_dim`.
        images: normal images that the model takes, as a batch; or an iterable of batches, which
            may have different sizes, or of pairs (batch, condition).
        condition: a value for each image of one batch, or one for all images.

    Raises:
        UsageError: as `bits_per_dim`; or there are fewer than two images.
    """
    raise NotImplementedError


def save_typicality(typicality: Typicality, path: str | Path) -> None:
    """Writes it to a safetensors file, with digests: arrays and plain numbers, never code."""
    raise NotImplementedError


def load_typicality(path: str | Path) -> Typicality:
    """Reads what `save_typicality` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    raise NotImplementedError
