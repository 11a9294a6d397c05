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

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.arguments import shown, whole_number
from nextpixel.border import Admitted, ConditionGiven, Images, Mask, admit, tensor_of
from nextpixel.conditions.kinds import check_mirrored
from nextpixel.errors import UsageError
from nextpixel.orders import Order
from nextpixel.scoring import mixed, moment_maps

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

    surprise: Float[Tensor, "... C H W"]
    expectation: Float[Tensor, "... C H W"]
    variance: Float[Tensor, "... C H W"]

    @property
    def excess(self) -> Float[Tensor, "... C H W"]:
        """Surprise beyond expectation, s - H: of mean 0 and variance V under the model."""
        return self.surprise - self.expectation

    @property
    def z(self) -> Float[Tensor, " *B"]:
        """Σ(s - H) / √ΣV of each image.

        To ΣV of n sub-pixels (n·10⁻⁶ nats)² is added, here and everywhere: where a model is nearly
        certain, the rounding of float32 would otherwise look surprising.
        """
        return _ratio(*(maps.sum(dim=(-3, -2, -1)) for maps in self._terms))

    def z_of(self, region: Mask) -> Float[Tensor, " *B"]:
        """The z of the sub-pixels of each image that lie in a region.

        Args:
            region: booleans that broadcast to the maps, such as (H, W); chosen without looking at
                the image.

        Raises:
            TypeError: they are no booleans.
            UsageError: they do not broadcast to the maps.
        """
        inside = tensor_of("region", region).to("cpu")
        if inside.dtype != torch.bool:
            raise TypeError(f"region has type {inside.dtype}; give booleans, True inside it")
        try:
            inside = inside.expand(self.surprise.shape)
        except RuntimeError:
            raise UsageError(
                f"the shape of ‹region›, {tuple(inside.shape)}, does not broadcast to that of the"
                f" maps, {tuple(self.surprise.shape)}; give for example (H, W)"
            ) from None
        return _ratio(*(maps.where(inside, 0).sum(dim=(-3, -2, -1)) for maps in self._terms))

    def window_z(self, *windows: int) -> Float[Tensor, "... K H W"]:
        """The z of the window around each pixel, for each of K sides of windows.

        A window of side k has k×k pixels with all their colours; for even k it reaches one further
        up and left. Windows are cut at the border of the image, where they have fewer pixels.

        Args:
            windows: sides in pixels; none takes `WINDOWS`.

        Raises:
            UsageError: a side is no positive integer.
        """
        sides = _checked(windows or WINDOWS)
        terms = [maps.sum(dim=-3) for maps in self._terms]
        return torch.stack([_ratio(*(_in_windows(maps, k) for maps in terms)) for k in sides], -3)

    @property
    def _terms(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is summed over a region, and ones."""
        return self.excess, self.variance, torch.ones_like(self.variance)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnomalyMap:
    """Where an image departs from a model's expectation, in units of z.

    Attributes:
        orders: the maps in each order that the model knows; of most models one.
        windows: K sides of windows in pixels.
        z: `SurpriseMap.window_z` of these windows, (B, K, H, W) or (K, H, W): the mean over orders,
            and with `mirrored` over the mirror image turned back as well.
    """

    orders: tuple[SurpriseMap, ...]
    windows: tuple[int, ...]
    z: Float[Tensor, "... K H W"]

    @property
    def surprise(self) -> SurpriseMap:
        """The maps in the model's first order."""
        return self.orders[0]

    @property
    def nats(self) -> Float[Tensor, " *B"]:
        """-log p of each image under the mixture of orders: what `score` gives, with its sign."""
        by_order = [maps.surprise.sum(dim=(-3, -2, -1)) for maps in self.orders]
        return -mixed(-torch.stack(by_order, dim=-1))

    @property
    def heat(self) -> Float[Tensor, "... H W"]:
        """The mean over windows of z: the map to show, on one scale for all images."""
        return self.z.mean(dim=-3)

    @property
    def score(self) -> Float[Tensor, " *B"]:
        """The mean over windows of each one's largest z."""
        return self.z.amax(dim=(-2, -1)).mean(dim=-1)


def surprise_map(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    order: Order | None = None,
) -> SurpriseMap:
    """Surprise, expectation and variance of every sub-pixel, in one pass.

    Arguments and errors are those of `log_prob_map`. Large images are taken a few rows at a time. A
    `MultiScale` expects each pixel in the scale that counts it. A module of a user's own whose
    distribution has no `log_pmf` is asked for each value in turn.

    Expectations are sums over all values. Only for mixtures of logistics of more than 64 levels are
    they integrals by 32 to 128 points: H and V then err by a few 10⁻³ at most, on average over
    sites by a hundredth of it, see `layers.mixture_moments`.

    Example:
        >>> import torch
        >>> from nextpixel import PixelCNN, sample
        >>> model = PixelCNN(levels=4, features=8, layers=2)
        >>> x = torch.randint(4, (2, 1, 6, 5))
        >>> maps = surprise_map(model, x)
        >>> maps.excess.shape, maps.z.shape, maps.window_z(3, 5).shape
        (torch.Size([2, 1, 6, 5]), torch.Size([2]), torch.Size([2, 2, 6, 5]))
    """
    surprise, expectation, variance = moment_maps(model, x, condition, order=order)
    return SurpriseMap(surprise=surprise, expectation=expectation, variance=variance)


def anomaly_map(
    model: nn.Module,
    x: Images,
    condition: ConditionGiven = None,
    *,
    windows: tuple[int, ...] = WINDOWS,
    mirrored: bool = False,
) -> AnomalyMap:
    """Where each image departs from what a model expects: z in windows of several sizes.

    A model of several orders looks at an image in each of them, and the mean of the maps is taken:
    what one order sees in the shadow of a defect, another sees before the defect.

    Args:
        model, x, condition: as for `surprise_map`.
        windows: sides in pixels.
        mirrored: whether to look at the left-right mirror image as well, which costs twice as much,
            and to take the mean of both maps: the mirror image shows what lies right of a defect
            before the defect. It adds nothing for a model that knows the order "top-right".

    Raises:
        UsageError, TypeError: as `surprise_map`; or a window is no positive integer; or a map on
            which the model is conditioned cannot be mirrored with the image, as its scale does not
            divide the width.
    """
    sides = _checked(windows)
    given = admit(model, x, condition)
    model, x, values = given.model, given.x, given.values
    every = [surprise_map(model, x, values, order=order) for order in model.orders]
    z = torch.stack([maps.window_z(*sides) for maps in every]).mean(dim=0)
    if mirrored and _MIRRORED not in model.orders:
        z = (z + _mirrored(given, sides)) / 2
    own = [
        SurpriseMap(
            surprise=given.result(maps.surprise),
            expectation=given.result(maps.expectation),
            variance=given.result(maps.variance),
        )
        for maps in every
    ]
    return AnomalyMap(orders=tuple(own), windows=sides, z=given.result(z))


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


_ROUNDING = 1e-6
"""Nats by which the surprise of a sub-pixel may be wrong in float32."""


def _ratio(excess: Tensor, variance: Tensor, count: Tensor) -> Tensor:
    """The z of sums over so many sub-pixels, of which none counts as more certain than rounding."""
    least = torch.finfo(torch.float64).tiny
    return excess / (variance + (count * _ROUNDING) ** 2).clamp(min=least).sqrt()


def _in_windows(maps: Tensor, side: int) -> Tensor:
    """Sums over the window around each pixel, (…, H, W).

    Differences of integral images would cost less for wide windows, but lose the variance of a flat
    region beside a textured one.
    """
    height, width = maps.shape[-2:]
    side = min(side, 2 * max(height, width) + 1)  # which covers the image from every pixel
    before = side // 2
    sums = functional.pad(maps.reshape(-1, height, width), (before, side - 1 - before) * 2)
    for kernel in ((side, 1), (1, side)):
        sums = functional.avg_pool2d(sums, kernel, stride=1) * side
    return sums.view(maps.shape)


def _checked(windows: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(windows, Sequence) or isinstance(windows, str) or not windows:
        raise UsageError(f"‹windows› must be sides in pixels such as (3, 9), not {shown(windows)}")
    return tuple(whole_number("windows", side, 1) for side in windows)


_MIRRORED = Order(flip_columns=True)


def _mirrored(given: Admitted, sides: tuple[int, ...]) -> Tensor:
    """The z maps of the mirror image in every order, turned back; their mean."""
    model, x, values = given.model, given.x, given.values
    check_mirrored(model.conditions, x.shape[3], "mirrored")
    pairs = zip(model.conditions, values, strict=True)
    turned = tuple(_MIRRORED.turn(value) if part.per_pixel else value for part, value in pairs)
    every = [surprise_map(model, _MIRRORED.turn(x), turned, order=one) for one in model.orders]
    z = torch.stack([maps.window_z(*sides) for maps in every]).mean(dim=0)
    return _MIRRORED.turn_back(z)
