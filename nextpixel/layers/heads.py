"""The conditional distributions of sub-pixels.

Pixel Recurrent Neural Networks, sections 2.2 and 5.1: a softmax over all values of a sub-pixel, or
for two values a Bernoulli. PixelCNN++ (Salimans et al., 2017): a discretised mixture of logistics,
whose density is also the continuous alternative that the papers compare with.
"""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from nextpixel.layers.distributions import Checked

__all__ = ["COMPONENTS", "HEADS", "Bernoulli", "Categorical", "LogisticMixture"]

# The target that cross_entropy ignores; with its default, -100, a wrong value would cost nothing.
_NO_VALUE = torch.iinfo(torch.int64).min


def _full_precision(logits: Tensor) -> Tensor:
    """Half-precision logits as float32: log-probabilities summed over an image need it."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


class Categorical(Checked):
    """A softmax over the values 0 … levels-1 of each sub-pixel.

    Args:
        outputs: logits (B, C·levels, H, W), channel k = colour·levels + value; or those of a single
            colour, if C is 1.
        channels: number of colours C that `outputs` covers.
        levels: number of values.
    """

    half_precision = True
    """Whether outputs that were computed in half precision are exact enough."""
    lasting = True
    """Whether a distribution follows when its outputs are overwritten."""

    def __init__(self, outputs: Float[Tensor, "B CL H W"], channels: int, levels: int) -> None:
        super().__init__(levels, (outputs.shape[0], channels, *outputs.shape[2:]))
        self.logits = torch.unflatten(outputs, 1, (channels, levels))

    @staticmethod
    def outputs(channels: int, levels: int) -> int:
        """One logit per colour and value."""
        return channels * levels

    def nats(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats."""
        # Values last: with channels-last maps they lie side by side already, and the softmax is
        # several times faster.
        logits = _full_precision(self.logits.permute(0, 3, 4, 1, 2))
        values = x.permute(0, 2, 3, 1)
        nats = functional.cross_entropy(
            logits.flatten(0, 3), values.flatten().long(), reduction="none", ignore_index=_NO_VALUE
        )
        return -nats.view(values.shape).permute(0, 3, 1, 2)

    def log_pmf(self, x: Tensor, channel: int) -> Float[Tensor, "B L H W"]:
        """Log-probability of every value of one colour; x is unused.

        The logits already know the earlier colours.
        """
        # Values last, as in `log_prob`.
        logits = _full_precision(_colour(self.logits, channel).permute(0, 2, 3, 1))
        return functional.log_softmax(logits, dim=3).permute(0, 3, 1, 2)

    def log_density(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-density, constant on [v, v+1)."""
        return self._constant_density(y)


class Bernoulli(Checked):
    """One logit for the value 1 of each sub-pixel: the sigmoid of the binary MNIST experiments.

    Args:
        outputs: logits (B, C, H, W), or (B, 1, H, W) for a single colour.
        channels: number of colours C that `outputs` covers.
        levels: 2.
    """

    half_precision, lasting = True, False

    def __init__(self, outputs: Float[Tensor, "B C H W"], channels: int, levels: int) -> None:
        assert outputs.shape[1] == channels and levels == 2
        super().__init__(levels, outputs.shape)
        self.logits = _full_precision(outputs)

    @staticmethod
    def outputs(channels: int, levels: int) -> int:
        """One logit per colour; raises ValueError unless there are two values."""
        if levels != 2:
            raise ValueError(
                f"a Bernoulli head is for two values, but levels is {levels}; use head='softmax'"
            )
        return channels

    def nats(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats."""
        return -functional.binary_cross_entropy_with_logits(
            self.logits, x.detach().to(self.logits.dtype), reduction="none"
        )

    def log_pmf(self, x: Tensor, channel: int) -> Float[Tensor, "B 2 H W"]:
        """Log-probability of 0 and of 1."""
        logit = _colour(self.logits, channel)
        return functional.logsigmoid(torch.stack([-logit, logit], dim=1))

    def log_density(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-density, constant on [v, v+1)."""
        return self._constant_density(y)


COMPONENTS = 10
"""Of a mixture of logistics."""
# The floor is that of PixelCNN++; at the ceiling a component is flat over all values, and beyond it
# would underflow.
_LOG_SCALES = -7.0, 7.0
_NARROW = -3.0
_BLOCK = 16


class LogisticMixture(Checked):
    """A discretised mixture of logistics over all colours of a pixel.

    PixelCNN++, sections 2.1 and 2.2. Each component is a product of logistics, one per colour; the
    mean of a colour is linear in the earlier colours of the pixel. Value v has the mass of the
    interval [v - ½, v + ½], scaled to -1 … 1; the outermost values also have all mass beyond it, so
    that probabilities sum to one. `log_density` is the same mixture without rounding: a draw from
    it, rounded to the nearest value that exists, is a draw from the discretised mixture.

    Args:
        outputs: (B, K·(1 + 2C + C(C-1)/2), H, W): logits of the K = 10 components, then means,
            log-scales, and for each colour the coefficients of the earlier ones. The scale is that
            of images centred to -1 … 1. With C·K more, predictions of the colours for each
            component, it is the mixture of what these leave of a pixel.
        channels: number of colours C.
        levels: number of values.
    """

    half_precision, lasting = False, False  # a mixture's locations are finer

    def __init__(self, outputs: Float[Tensor, "B K H W"], channels: int, levels: int) -> None:
        super().__init__(levels, (outputs.shape[0], channels, *outputs.shape[2:]))
        self.channels = channels
        own = self.outputs(channels, levels)
        self.parts = parts = torch.unflatten(_full_precision(outputs[:, :own]), 1, (-1, COMPONENTS))
        self.predictions: Tensor | None = None
        if outputs.shape[1] > own:
            self.predictions = torch.unflatten(outputs[:, own:], 1, (channels, COMPONENTS))
        self.logits = functional.log_softmax(parts[:, 0], dim=1)
        self.means, log_scales = (
            parts[:, 1 : 1 + channels],
            parts[:, 1 + channels : 1 + 2 * channels],
        )
        coefficients = parts[:, 1 + 2 * channels :]
        self.log_scales = log_scales.clamp(*_LOG_SCALES)
        self.coefficients = coefficients.tanh()

    @staticmethod
    def outputs(channels: int, levels: int) -> int:  # noqa: ARG004 (the same for every number of levels)
        """For each component a logit, and for each colour a mean, a log-scale and coefficients."""
        return COMPONENTS * (1 + 2 * channels + channels * (channels - 1) // 2)

    @staticmethod
    def initial_bias(channels: int, levels: int) -> list[float]:
        """Of narrow components, whose colours go together: hundreds of updates start from there."""
        scale = max(_NARROW, math.log(2 / (levels - 1)))
        logits_and_means, pairs = 1 + channels, channels * (channels - 1) // 2
        of_each = [0.0] * logits_and_means + [scale] * channels + [1.0] * pairs
        return [number for number in of_each for _ in range(COMPONENTS)]

    def nats(self, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-probability of each sub-pixel of x in nats."""
        return torch.stack([nats for _, nats in self.chain(x)], dim=1)

    def log_pmf(self, x: Tensor, channel: int) -> Float[Tensor, "B L H W"]:
        """Log-probability of every value of one colour, given the earlier colours in x."""
        weights = self._given(x, channel)
        values = torch.arange(self.levels, device=x.device).view(-1, 1, 1, 1, 1)
        mass = self._mass(x, values, channel)  # (levels, B, K, H, W)
        normalised = functional.log_softmax(weights, dim=1)
        return torch.logsumexp(normalised + mass, dim=2).transpose(0, 1)

    def log_prob_of(self, x: Tensor, values: Tensor, channel: int) -> Float[Tensor, "B H W"]:
        """Log-probability of values (B, H, W) of one colour, given the earlier colours in x."""
        mass = self._mass(x, values[:, None], channel)
        return torch.logsumexp(functional.log_softmax(self._given(x, channel), dim=1) + mass, dim=1)

    def quantiles(self, x: Tensor, uniform: Tensor, channel: int) -> Tensor:
        """The values at which the distribution functions of one colour pass uniform numbers.

        Both are (B, H, W). They are searched for in blocks of 16, 256 … values, so that few values
        of the functions are computed. NaN in the distribution gives no value: `levels` or more.
        """
        weights = self._given(x, channel).softmax(dim=1)
        mean, steep = self.mean(x, channel), torch.exp(-self.log_scales[:, channel])
        half, last = 1 / (self.levels - 1), self.levels - 1
        # Above every number, unless something is NaN.
        top = 2 + (weights * (0 * mean)).sum(dim=1)
        low = torch.zeros_like(uniform, dtype=torch.int64)
        width = _BLOCK ** max(0, math.ceil(math.log(self.levels, _BLOCK)) - 1)
        places = torch.arange(1, _BLOCK + 1, device=x.device).view(-1, 1, 1, 1)
        while width:
            ends = low + places * width - 1  # of the blocks, (16, B, H, W)
            below = ((self._centre(ends) + half)[:, :, None] - mean).mul_(steep).sigmoid_()
            passed = torch.where(ends >= last, top, below.mul_(weights).sum(dim=2)) > uniform
            low = low + (~passed).sum(dim=0) * width
            width //= _BLOCK
        return low

    def log_density(self, y: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Log-density of each sub-pixel of y in nats."""
        steps = self._steps(
            y, lambda channel: self._density(y.floor(), y[:, channel, None], channel)
        )
        return torch.stack([nats for _, nats in steps], dim=1)

    def _given(self, x: Tensor, channel: int) -> Tensor:
        """Logits of the components (B, K, H, W), given the earlier colours in x."""
        weights = self.logits
        for earlier in range(channel):
            weights = weights + self._mass(x, x[:, earlier, None].detach(), earlier)
        return weights

    def chain(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each colour what the earlier ones of x leave of the components, and its nats.

        The former are logarithms of weights (B, K, H, W) that do not sum to one, the latter the
        log-probability of the colour in x, (B, H, W).
        """
        return self._steps(x, lambda channel: self._mass(x, x[:, channel, None].detach(), channel))

    def _steps(
        self, x: Tensor, component: Callable[[int], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        weights = self.logits
        total = torch.zeros_like(x[:, 0], dtype=weights.dtype)
        for channel in range(self.channels):
            before, weights = weights, weights + component(channel)
            joint = torch.logsumexp(weights, dim=1)
            yield before, joint - total
            total = joint

    def _centre(self, values: Tensor) -> Tensor:
        return values.to(self.means.dtype) * (2 / (self.levels - 1)) - 1

    def mean(self, x: Tensor, channel: int) -> Float[Tensor, "B K H W"]:
        """The components' means of one colour, given the earlier ones, on the scale -1 … 1."""
        mean: Tensor = self.means[:, channel]
        predictions, first = self.predictions, channel * (channel - 1) // 2
        if predictions is not None:
            mean = mean + predictions[:, channel]
        for earlier in range(channel):
            rest = self._centre(x[:, earlier, None])
            rest = rest if predictions is None else rest - predictions[:, earlier]
            mean = mean + self.coefficients[:, first + earlier] * rest
        return mean

    def _mass(self, x: Tensor, values: Tensor, channel: int) -> Tensor:
        """The log-probability of values under each component.

        `values` broadcasts against (B, K, H, W).
        """
        log_scale = self.log_scales[:, channel]
        half = 1 / (self.levels - 1)
        offset, inverse = self._centre(values) - self.mean(x, channel), torch.exp(-log_scale)
        upper, lower = (offset + half) * inverse, (offset - half) * inverse
        # σ(u) - σ(l) = σ(u) σ(-l) (1 - e^(l-u)), without cancellation anywhere.
        log_upper, log_lower = functional.logsigmoid(upper), functional.logsigmoid(-lower)
        inner = log_upper + log_lower + torch.log(-torch.expm1(-2 * half * inverse))
        first, last = values <= 0, values >= self.levels - 1
        return torch.where(first, log_upper, torch.where(last, log_lower, inner))

    def _density(self, x: Tensor, y: Tensor, channel: int) -> Tensor:
        """Log-density of y under each component, per unit of the values."""
        log_scale: Tensor = self.log_scales[:, channel]
        z: Tensor = (self._centre(y - 0.5) - self.mean(x, channel)) * torch.exp(-log_scale)
        return (
            functional.logsigmoid(z)
            + functional.logsigmoid(-z)
            - log_scale
            + math.log(2 / (self.levels - 1))
        )


def _colour(logits: Tensor, channel: int) -> Tensor:
    """The logits of one colour; those computed at a site are of that site's colour only."""
    return logits.select(1, channel if logits.shape[1] > 1 else 0)


HEADS: dict[str, type[Categorical] | type[Bernoulli] | type[LogisticMixture]] = {
    "softmax": Categorical,
    "bernoulli": Bernoulli,
    "logistic": LogisticMixture,
}
"""By the names that models take."""
