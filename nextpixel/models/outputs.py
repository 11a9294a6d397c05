"""What a module returns, read as distributions: logits in three layouts, or an object."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Distribution
from nextpixel.layers.heads import Bernoulli, Categorical

__all__ = ["distribution_of"]


def distribution_of(output: object, x: Tensor, channels: int, levels: int) -> Distribution:
    """The distributions of the sub-pixels of x (B, C, H, W) that a module's output stands for.

    These outputs are accepted:

    - logits (B, levels, C, H, W), as `torch.nn.functional.cross_entropy` takes them;
    - logits (B, C·levels, H, W), of which number colour·levels + value is that of a value, and so
      (B, levels, H, W) for one colour;
    - for two levels, logits (B, C, H, W) of the value 1;
    - an object whose `log_prob(x)` gives nats (B, C, H, W), such as
      ``torch.distributions.Categorical`` over logits (B, C, H, W, levels). If it has `log_pmf` and
      `log_density` as in `nextpixel.layers.distributions.Distribution`, they are used, too.

    Raises:
        UsageError: the output is nothing of the kind, or a distribution of reals.
    """
    if isinstance(output, Distribution):
        return output
    if callable(getattr(output, "log_prob", None)):
        _check_discrete(output)
        return _Completed(output, levels)
    batch, size = len(x), tuple(x.shape[2:])
    if isinstance(output, Tensor) and output.is_floating_point():
        shape = tuple(output.shape)
        if shape == (batch, levels, channels, *size):
            return Categorical(output.transpose(1, 2).flatten(1, 2), channels, levels)
        if shape == (batch, channels * levels, *size):
            return Categorical(output, channels, levels)
        if levels == 2 and shape == (batch, channels, *size):
            return Bernoulli(output, channels, levels)
        found = f"logits of shape {shape}"
    elif isinstance(output, Tensor):
        found = f"a tensor of type {output.dtype}"
    else:
        name = type(output).__name__
        found = f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
    forms = f"(B, {levels}, {channels}, H, W) or (B, {channels * levels}, H, W)"
    bernoulli = f", or (B, {channels}, H, W) of the value 1" if levels == 2 else ""
    raise UsageError(
        f"the model gave {found} for images {tuple(x.shape)}; expected real logits"
        f" {forms}{bernoulli}, or an object with log_prob"
    )


def _check_discrete(output: object) -> None:
    """Raises UsageError if a distribution of torch is of reals: densities are no probabilities."""
    if not isinstance(output, torch.distributions.Distribution):
        return
    try:
        support = output.support
    except NotImplementedError:
        return
    if support is not None and not support.is_discrete:
        raise UsageError(
            f"the model gave a {type(output).__name__}, whose log_prob is a density of reals; give"
            " probabilities of integers, such as log(cdf(x + 1/2) - cdf(x - 1/2))"
        )


class _Completed:
    """A distribution of which only `log_prob` need be given."""

    def __init__(self, given: Any, levels: int) -> None:
        self._given, self._levels = given, levels

    def log_prob(self, x: Tensor) -> Tensor:
        nats: Tensor = self._given.log_prob(x)
        if nats.shape != x.shape:
            raise UsageError(
                f"the log_prob of the model's {type(self._given).__name__} has shape"
                f" {tuple(nats.shape)}; it must have that of the images, {tuple(x.shape)}"
            )
        return nats

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        own = getattr(self._given, "log_pmf", None)
        if own is not None:
            return own(x, channel)  # type: ignore[no-any-return]
        every = map(partial(self._of_value, x, channel), range(self._levels))
        return torch.stack(list(every), dim=1)

    def _of_value(self, x: Tensor, channel: int, value: int) -> Tensor:
        x = x.detach().clone()
        x[:, channel] = value
        return self.log_prob(x)[:, channel]

    def log_density(self, y: Tensor) -> Tensor:
        own = getattr(self._given, "log_density", None)
        return self.log_prob(y.floor().long()) if own is None else own(y)
