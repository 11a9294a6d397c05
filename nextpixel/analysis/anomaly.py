"""What is surprising in an image, and where, measured against what a model expected.

At every sub-pixel a model states a distribution p(· | past). Of an image x it gives

- the **surprise** s = -log p(x_i | past);
- the **expectation** H = E[-log p], the entropy of that distribution: how surprised the model
  expected to be;
- the **variance** V of -log p under the same distribution.

The **excess** s - H has mean 0 and variance V given the past, whatever the past is. Excesses are
therefore uncorrelated, and for every set of sub-pixels that is chosen without looking at the image

    z = Σ (s - H) / √(Σ V)

has the mean 0 and, as far as ΣV does not depend on the image, the variance 1, if the image is a
draw of the model. Exactly, E Σ(s - H) = 0 and E[(Σ(s - H))²] = E ΣV. Raw likelihood lacks this: a
smooth image is likely whatever it shows (Nalisnick et al., *Do Deep Generative Models Know What
They Don't Know?*, 2019; Serrà et al., *Input Complexity and Out-of-Distribution Detection*, 2020).

A defect is found where a window of the image has a large z. As a defect surprises at its first
rows and columns and then spoils the context to its right and below, the mirrored image may be
looked at, too.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from nextpixel.border import ConditionGiven, Images, Mask

__all__ = ["WINDOWS", "AnomalyMap", "SurpriseMap", "anomaly_map", "anomaly_score", "surprise_map"]

WINDOWS = (3, 5, 7, 9, 13)
"""Sides of the windows over which z is taken, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SurpriseMap:
    """How surprising each sub-pixel of some images is, and how surprising it was expected to be.

    All maps are in nats, float64, on the CPU, and have the shape of the images: (B, C, H, W), or
    (C, H, W) of one image that was given so.

    Attributes:
        surprise: -log p(x_i | past).
        expectation: the entropy H of p(· | past).
        variance: V, the variance of -log p(· | past), in nats².
    """

    surprise: Float[Tensor, "*B C H W"]
    expectation: Float[Tensor, "*B C H W"]
    variance: Float[Tensor, "*B C H W"]

    @property
    def excess(self) -> Float[Tensor, "*B C H W"]:
        """s - H: of mean 0 and variance V under the model."""
        return self.surprise - self.expectation

    @property
    def z(self) -> Float[Tensor, " *B"]:
        """Σ(s - H) / √ΣV of each image."""
        raise NotImplementedError

    def z_of(self, region: Mask) -> Float[Tensor, " *B"]:
        """z of the sub-pixels of each image that are in a region.

        Args:
            region: booleans that broadcast to the maps, such as (H, W); chosen without looking at
                the image.
        """
        raise NotImplementedError

    def window_z(self, *windows: int) -> Float[Tensor, "*B K H W"]:
        """z of the window around each pixel, for each of K sides of windows.

        A window of side k has k×k pixels with all their colours; for even k it reaches one further
        up and left. Windows are cut at the border of the image, where they have fewer pixels.

        Args:
            windows: sides in pixels; none takes `WINDOWS`.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, eq=False)
class AnomalyMap:
    """Where an image departs from a model's expectation, in units of z.

    Attributes:
        surprise: the maps of the images as they are.
        windows: K sides of windows in pixels.
        z: `SurpriseMap.window_z` of these windows, (B, K, H, W) or (K, H, W); with `mirrored` the
            mean of that of the image and that of its mirror image turned back.
    """

    surprise: SurpriseMap
    windows: tuple[int, ...]
    z: Float[Tensor, "*B K H W"]

    @property
    def heat(self) -> Float[Tensor, "*B H W"]:
        """The mean over windows of z: the map to show, on one scale for all images."""
        return self.z.mean(dim=-3)

    @property
    def score(self) -> Float[Tensor, " *B"]:
        """The mean over windows of each one's largest z."""
        return self.z.amax(dim=(-2, -1)).mean(dim=-1)


def surprise_map(
    model: nn.Module, x: Images, condition: ConditionGiven = None
) -> SurpriseMap:
    """Surprise, expectation and variance of every sub-pixel, in one pass.

    Exact for every model; costs less than one and a half times what `score` does. Arguments and
    errors are those of `bits_per_dim`. Large images are taken a few rows at a time. A `MultiScale`
    expects each pixel in the scale that counts it.

    Example:
        >>> import torch
        >>> from nextpixel import PixelCNN, sample
        >>> model = PixelCNN(levels=4, features=8, layers=2)
        >>> x = torch.randint(4, (2, 1, 6, 5))
        >>> maps = surprise_map(model, x)
        >>> maps.excess.shape, maps.z.shape, maps.window_z(3, 5).shape
        (torch.Size([2, 1, 6, 5]), torch.Size([2]), torch.Size([2, 2, 6, 5]))
    """
    raise NotImplementedError


def anomaly_map(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    windows: tuple[int, ...] = WINDOWS,
    mirrored: bool = False,
) -> AnomalyMap:
    """Where each image departs from what a model expects: z in windows of several sizes.

    Args:
        model, x, condition: as for `surprise_map`.
        windows: sides in pixels.
        mirrored: whether to look at the left-right mirror image as well, which costs twice as much,
            and to take the mean of both maps: the mirror image shows what lies right of a defect
            before the defect.

    Raises:
        UsageError, TypeError: as `surprise_map`; or a window is no positive integer; or a map on
            which the model is conditioned cannot be mirrored with the image, as its scale does not
            divide the width.
    """
    raise NotImplementedError


def anomaly_score(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    windows: tuple[int, ...] = WINDOWS,
    mirrored: bool = False,
) -> Float[Tensor, " *B"]:
    """How far the most surprising windows of each image are from expectation, in units of z.

    The mean over sizes of windows of the largest z, `AnomalyMap.score`. No size is chosen, so none
    has to be tuned on defects. Arguments are those of `anomaly_map`. Result: float64, on the CPU.
    """
    return anomaly_map(model, x, condition, windows=windows, mirrored=mirrored).score
