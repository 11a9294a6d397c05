"""The law of one colour in every lane of a front: how its values are drawn and what they cost.

A table holds the log-probabilities of all values. A mixture of logistics has none unless somebody
asks: the value at which its distribution function passes a number is found without the others.
"""

from typing import Protocol

import torch
from torch import Tensor

from nextpixel.devices import widest
from nextpixel.layers.heads import LogisticMixture

__all__ = ["Law", "OfMixture", "OfTable", "inverse_cdf"]


class Law(Protocol):
    """The law of n lanes."""

    def draw(self, uniform: Tensor, temperature: float) -> Tensor:
        """The values (n,) at which distribution functions pass uniform numbers (n,)."""
        ...

    def nats(self, values: Tensor, temperature: float = 1.0) -> Tensor:
        """The log-probabilities of values, (n,)."""
        ...


class OfTable(Law):
    """By the log-probabilities of all values, (n, levels)."""

    def __init__(self, log_pmf: Tensor) -> None:
        self._log_pmf = log_pmf

    def draw(self, uniform: Tensor, temperature: float) -> Tensor:
        """The values at which distribution functions pass uniform numbers."""
        return inverse_cdf(self._log_pmf, uniform, temperature)

    def nats(self, values: Tensor, temperature: float = 1.0) -> Tensor:
        """The log-probabilities of values."""
        log_pmf = self._log_pmf
        if temperature != 1:
            log_pmf = torch.log_softmax(log_pmf / temperature, dim=1)
        return log_pmf.gather(1, values[:, None])[:, 0]


class OfMixture(Law):
    """Of a mixture of logistics at temperature 1.

    Args:
        mixture: of all lanes, (n, C, 1, 1).
        given: what it depends on, see `Step.given`.
        channel: the colour.
    """

    def __init__(self, mixture: LogisticMixture, given: Tensor, channel: int) -> None:
        self._mixture, self._given, self._channel = mixture, given, channel

    def draw(self, uniform: Tensor, temperature: float) -> Tensor:
        """The values at which distribution functions pass uniform numbers."""
        assert temperature == 1
        numbers = uniform[:, None, None]
        return self._mixture.quantiles(self._given, numbers, self._channel).flatten()

    def nats(self, values: Tensor, temperature: float = 1.0) -> Tensor:
        """The log-probabilities of values."""
        assert temperature == 1
        of = values[:, None, None]
        return self._mixture.log_prob_of(self._given, of, self._channel).flatten()


def inverse_cdf(log_pmf: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """The values (B,) at which the distribution functions (B, levels) pass uniform numbers (B,).

    Never a value of probability zero, if the number is below 1 by more than rounding. Temperature 0
    takes the likeliest value.
    """
    if temperature == 0:
        return log_pmf.argmax(dim=1)
    if temperature != 1:
        log_pmf = log_pmf.to(widest(log_pmf.device)) / temperature
    # Faster than exp, and the values lie side by side.
    cdf = torch.softmax(log_pmf, dim=1).cumsum(dim=1)
    total = cdf[:, -1:]
    return torch.searchsorted(cdf, total * uniform.view(-1, 1), right=True).view(-1)
