"""From features to the conditional distribution of every sub-pixel.

Pixel Recurrent Neural Networks, sections 2.2 and 5.1: a softmax over all values of a sub-pixel, or for two values a
Bernoulli. A distribution covers a block of sites: all of an image, some rows of it, or one site.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

__all__ = ["HEADS", "Bernoulli", "Categorical", "Distribution"]


@runtime_checkable
class Distribution(Protocol):
    """The conditional distributions of a block of sub-pixels, each given its past."""

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-probability of each sub-pixel of x (B, C, H, W) given its past, in nats, same shape.

        x holds integers 0 … levels-1; `nextpixel.score` checks that, this does not.
        """
        ...

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        """The log-probability of every value of one colour, given the earlier colours of x: (B, levels, H, W)."""
        ...


# A target that cross_entropy passes over; its default, -100, would make a wrong value free of cost.
_NO_VALUE = torch.iinfo(torch.int64).min


def _full_precision(logits: Tensor) -> Tensor:
    """Half-precision logits as float32: log-probabilities summed over an image need it."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class Categorical:
    """A softmax over the values 0 … levels-1 of each sub-pixel.

    Args:
        outputs: logits (B, C·levels, H, W), channel k = colour·levels + value; or those of a single colour, if C is 1.
        channels: number of colours C that `outputs` covers.
    """

    def __init__(self, outputs: Float[Tensor, "B CL H W"], channels: int) -> None:
        self.logits = torch.unflatten(outputs, 1, (channels, -1))

    @staticmethod
    def outputs(levels: int) -> int:
        """One logit per value."""
        return levels

    def log_prob(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats."""
        # Values last: with channels-last maps they lie side by side already, and the softmax is several times faster.
        logits = _full_precision(self.logits.permute(0, 3, 4, 1, 2))
        values = x.permute(0, 2, 3, 1)
        nats = functional.cross_entropy(
            logits.flatten(0, 3), values.flatten().long(), reduction="none", ignore_index=_NO_VALUE
        )
        return -nats.view(values.shape).permute(0, 3, 1, 2)

    def log_pmf(self, x: Tensor, channel: int) -> Float[Tensor, "B L H W"]:
        """Log-probability of every value of one colour. The logits already know the earlier colours: x is unused."""
        return functional.log_softmax(_full_precision(_colour(self.logits, channel)), dim=1)


class Bernoulli:
    """One logit for the value 1 of each two-valued sub-pixel: the sigmoid of the binary MNIST experiments.

    Args:
        outputs: logits (B, C, H, W), or (B, 1, H, W) for a single colour.
        channels: number of colours C that `outputs` covers.
    """

    def __init__(self, outputs: Float[Tensor, "B C H W"], channels: int) -> None:
        assert outputs.shape[1] == channels
        self.logits = _full_precision(outputs)

    @staticmethod
    def outputs(levels: int) -> int:
        """One logit; raises ValueError unless there are two values."""
        if levels != 2:
            raise ValueError(f"a Bernoulli head knows two values, but levels is {levels}; use head='softmax'")
        return 1

    def log_prob(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats."""
        return -functional.binary_cross_entropy_with_logits(
            self.logits, x.detach().to(self.logits.dtype), reduction="none"
        )

    def log_pmf(self, x: Tensor, channel: int) -> Float[Tensor, "B 2 H W"]:
        """Log-probability of 0 and of 1."""
        logit = _colour(self.logits, channel)
        return functional.logsigmoid(torch.stack([-logit, logit], dim=1))


def _colour(logits: Tensor, channel: int) -> Tensor:
    """The logits of one colour; those computed at a site are of that site's colour only."""
    return logits.select(1, channel if logits.shape[1] > 1 else 0)


HEADS: dict[str, type[Categorical] | type[Bernoulli]] = {"softmax": Categorical, "bernoulli": Bernoulli}
