"""What a distribution of a block of sub-pixels answers, and what it refuses.

A block is all of an image, some rows of it, or one site. Images hold integers 0 … levels-1. For
densities, value v stands for the interval [v, v+1), and densities are per unit of that scale, so
that their bits per dimension can be compared with those of probabilities.
"""

from abc import abstractmethod
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor

from nextpixel.conditions.kinds import Condition
from nextpixel.errors import UsageError
from nextpixel.layers.integers import check_integers, check_range

__all__ = ["Checked", "Distribution", "nats_of"]


@runtime_checkable
class Distribution(Protocol):
    """The conditional distributions of a block of sub-pixels, each given its past."""

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-probability of each sub-pixel of x (B, C, H, W) given its past, in nats.

        x holds integers 0 … levels-1; the distributions of this library refuse anything else.
        """
        ...

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        """The log-probability of every value of one colour: (B, levels, H, W).

        It is given the earlier colours of x.
        """
        ...

    def log_density(self, y: Tensor) -> Tensor:
        """The log-density of each sub-pixel of y (B, C, H, W) in nats, same shape.

        y holds reals in [0, levels). The past counts as integers, ⌊y⌋. For a distribution over
        integers this is the density that is constant on [v, v+1), so that it equals the
        log-probability of ⌊y⌋.
        """
        ...


class Checked(Distribution):
    """A distribution that refuses what is no integer 0 … levels-1.

    Everybody's training loop passes `log_prob`, so it also checks the values of the conditions
    that the caller gave. Both together are one transfer from the device.

    Attributes:
        levels: number of values.
        shape: of the block of sub-pixels, (B, C, H, W).
        given: what the distribution is conditioned on, with the caller's values.
    """

    given: tuple[tuple[Condition, Tensor], ...] = ()

    def __init__(self, levels: int, shape: tuple[int, ...]) -> None:
        self.levels, self.shape = levels, shape

    @final
    def log_prob(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats.

        Raises:
            TypeError: x does not hold integers. Reals pass if derivatives with respect to them are
                taken; they must be whole, too.
            UsageError: x has another shape or a value out of range, or a condition has.
        """
        check_integers(x, self.levels)
        if x.shape != self.shape:
            raise UsageError(
                f"‹x› has shape {tuple(x.shape)}, but the distribution is of {tuple(self.shape)};"
                " give the images that the model was called with"
            )
        check_range(x, self.levels, self.given)
        return self.nats(x)

    @abstractmethod
    def nats(self, x: Tensor) -> Tensor:
        """What `log_prob` gives, of values that are checked already."""

    @staticmethod
    def initial_bias(channels: int, levels: int) -> list[float]:  # noqa: ARG004
        """What the outputs are before anything is learned; [] for zeros."""
        return []

    def _constant_density(self, y: Tensor) -> Tensor:
        """The log-density that is constant on [v, v+1)."""
        check_range(y.floor(), self.levels, self.given)
        return self.nats(y.floor())


def nats_of(distribution: Distribution, x: Tensor) -> Tensor:
    """`log_prob` of values that are checked already."""
    return distribution.nats(x) if isinstance(distribution, Checked) else distribution.log_prob(x)
