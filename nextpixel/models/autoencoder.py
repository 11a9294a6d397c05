"""Auto-encoders: a convolutional encoder, with a PixelCNN or deconvolutions as the decoder.

Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), section 2.4: take a
convolutional auto-encoder (Masci et al., 2011), replace the deconvolutional decoder by a
conditional PixelCNN, and train both together by -log p(x | h = encoder(x)). The decoder knows the
local statistics of images, so the code is free to hold what is left: what is in the image, and
where. `variational` makes h a latent variable with a standard normal prior, as in PixelVAE
(Gulrajani et al., 2017): a distribution of images again, whose likelihood is bounded from below.

Neither is a leak: an encoder sees all of x, and p(x | h) is a distribution for every h. But NLL(x |
h(x)) is not NLL(x).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nextpixel.arguments import plain
from nextpixel.cache import Cache
from nextpixel.conditions.kinds import VectorCondition, of_kind
from nextpixel.conditions.values import Values, ValuesLike, as_values, forget
from nextpixel.errors import UsageError
from nextpixel.layers.distributions import Checked, Distribution
from nextpixel.layers.image_encoder import NEGATIVE_SLOPE, ImageEncoder, check_encoder
from nextpixel.layers.integers import check_integers, check_range
from nextpixel.layers.layout import Conv2d, ConvTranspose2d
from nextpixel.models.core import AutoregressiveModel, ImageModel, Scale
from nextpixel.models.trainable import (
    EXACT,
    LOWER_BOUND,
    Figure,
    Objective,
    Trainable,
    config_of,
)
from nextpixel.orders import turn_each

__all__ = ["ConvolutionalAutoencoder", "PixelCNNAutoencoder"]


class PixelCNNAutoencoder(ImageModel):
    """p(x | h) of an autoregressive decoder, with h = encoder(x).

    It is conditioned on codes: `sample(model, n, shape, condition=model.encode(x))` draws images
    that share what the code holds, and `score(model, x, model.encode(x))` is the exact log p(x |
    h). Without a condition, `forward` encodes x: this is how it is trained. With
    `TrainConfig.condition_dropout` the decoder also meets unknown codes, of NaN, and is the
    unconditional model as well: the difference of log p(x | h) and log p(x) of the same weights is
    what a code is worth.

    Args:
        decoder: a model whose condition is `VectorCondition(m)`. m is the size of the code.
        size: (H, W) of the images.
        encoder_features: of the encoder's first convolution.
        variational: make h a latent variable: the encoder gives q(h | x) = N(mean, deviation²), and
            p(h) = N(0, 1); training maximises the lower bound E_q log p(x | h) - KL(q || p).
        free_bits: for `variational`: bits of each of the code's entries that cost nothing in
            training, averaged over the batch (Kingma et al., 2016), so that a strong decoder does
            not ignore the code.
        negative_slope: of the encoder's leaky ReLUs; files of version 0.1.0 mean 0.

    Raises:
        UsageError: the decoder has another condition, or a value is out of range.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> decoder = GatedPixelCNN(levels=4, features=8, layers=2, condition=VectorCondition(10))
        >>> model = PixelCNNAutoencoder(decoder=decoder, size=(8, 8))
        >>> x = torch.randint(4, (2, 1, 8, 8))
        >>> model.encode(x).shape, model(x).log_prob(x).shape
        (torch.Size([2, 10]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self,
        *,
        decoder: AutoregressiveModel,
        size: Sequence[int],
        encoder_features: int = 32,
        variational: bool = False,
        free_bits: float = 0.0,
        negative_slope: float = NEGATIVE_SLOPE,
    ) -> None:
        super().__init__(channels=decoder.channels, levels=decoder.levels, orders=decoder.orders)
        codes = of_kind(decoder.conditions, VectorCondition)
        if not codes or len(decoder.conditions) > 1:
            raise UsageError(
                "‹decoder› must be conditioned on a code; give it condition=VectorCondition(size)"
            )
        code_size = codes[0].size
        check_encoder(
            channels=decoder.channels,
            levels=decoder.levels,
            size=size,
            negative_slope=negative_slope,
            code_size=code_size * (2 if variational else 1),
            encoder_features=encoder_features,
        )
        if not 0 <= free_bits < math.inf or (free_bits and not variational):
            raise UsageError(
                f"‹free_bits› must not be negative and is for ‹variational› only, not {free_bits}"
            )
        self.decoder, self.encoder_features = decoder, plain(encoder_features)
        self.size: tuple[int, int] = (plain(size[0]), plain(size[1]))
        self.variational, self.free_bits = variational, plain(free_bits)
        self.conditions = decoder.conditions
        self.code_size, self.negative_slope = code_size, plain(negative_slope)
        self.encoder = ImageEncoder(
            channels=self.channels,
            levels=self.levels,
            size=size,
            outputs=code_size * (2 if variational else 1),
            features=encoder_features,
            negative_slope=negative_slope,
        )

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        own = ("encoder_features", "variational", "free_bits", "negative_slope")
        return {"decoder": config_of(self.decoder), "size": list(self.size)} | {
            name: getattr(self, name) for name in own
        }

    @property
    def figure(self) -> Figure:
        """The exact likelihood given the code, or for a variational model a bound on log p(x)."""
        return LOWER_BOUND if self.variational else EXACT

    @property
    def given_by_data(self) -> tuple[()]:
        """Nothing: codes come from the images themselves."""
        return ()

    def scales(self) -> Iterator[Scale]:
        """The decoder's."""
        return self.decoder.scales()

    def encode(self, x: Tensor) -> Tensor:
        """The codes of images, (B, m); for a variational model the means of q(h | x).

        Raises:
            UsageError: the images are not of the size that the model was made for.
        """
        return self.posterior(x)[0] if self.variational else self.encoder(x)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-deviation of q(h | x), (B, m) each, of a variational model."""
        if not self.variational:
            raise UsageError(
                "this auto-encoder is not variational: it has codes, but no distribution of them"
            )
        mean, log_deviation = _precise(self.encoder(x)).chunk(2, dim=1)
        return mean, log_deviation.clamp(-7, 7)

    def infer(self, x: Tensor, values: Values) -> Values:
        """The codes of images, unless some are given.

        Booleans (B,) instead of codes are true where a code is to be unknown.
        """
        if values and values[0].dtype != torch.bool:
            return values
        codes = (self.encode(x.to(self.device)),)
        return forget(codes, values[0]) if values else codes

    def forward(
        self, x: Tensor, condition: ValuesLike = None, cache: Cache | None = None
    ) -> Distribution:
        """The distribution of every sub-pixel given its past and a code, by default that of x.

        For a variational model without a given code, a code is drawn from q(h | x). Each
        log-probability is then reduced by its share of the Kullback-Leibler divergence, so that
        their sum is the lower bound of log p(x).

        The decoder goes through turned images in their orders, and the encoder sees them upright.
        """
        values = as_values(condition)
        told = tuple(value for value in values if value.dtype == torch.int64)
        values = values[: len(values) - len(told)]
        if values or not self.variational:
            codes = self.infer(self._upright(x, told), values)
            return self._decoded(x, (*codes, *told), values, cache)
        mean, log_deviation = self.posterior(self._upright(x, told))
        code = mean + log_deviation.exp() * torch.randn_like(mean)
        divergence = gaussian_divergence(mean, log_deviation)
        if self.training:
            divergence = (
                divergence.mean(dim=0).clamp(min=self.free_bits * math.log(2)).expand_as(divergence)
            )
        return _Bound(self._decoded(x, (code, *told), (), cache), divergence.sum(dim=1))

    def _upright(self, x: Tensor, told: Values) -> Tensor:
        """Images before they were turned."""
        backs = [self.orders[number + 1].back for value in told for number in value.tolist()]
        return turn_each(backs, x) if told else x

    def _decoded(
        self, x: Tensor, codes: Values, given: Values, cache: Cache | None
    ) -> Distribution:
        """The decoder's distribution; codes of the encoder are no mistake of the caller."""
        distribution: Distribution = self.decoder(x, codes, cache)
        if isinstance(distribution, Checked) and not (given and given[0].is_floating_point()):
            distribution.given = ()
        return distribution


def gaussian_divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """KL(N(mean, deviation²) || N(0, 1)) of each entry in nats."""
    return 0.5 * (mean**2 + (2 * log_deviation).exp() - 1) - log_deviation


class _Bound:
    """A distribution whose log-probabilities share the cost (B,) of the code that it was given."""

    def __init__(self, distribution: Distribution, cost: Tensor) -> None:
        self._distribution, self._cost = distribution, cost

    def log_prob(self, x: Tensor) -> Tensor:
        return self._distribution.log_prob(x) - self._share(x)

    def log_pmf(self, x: Tensor, channel: int) -> Tensor:
        return self._distribution.log_pmf(x, channel)

    def log_density(self, y: Tensor) -> Tensor:
        return self._distribution.log_density(y) - self._share(y)

    def _share(self, x: Tensor) -> Tensor:
        return (self._cost / x[0].numel())[:, None, None, None]


class ConvolutionalAutoencoder(Trainable):
    """The paper's baseline: the same encoder and a deconvolutional decoder, for the squared error.

    It reconstructs images but is not a distribution of them. It is trained as the mean of a
    Gaussian of variance 1 on values scaled to [-1, 1], whose negative log-density is half the
    squared error plus a constant.

    Args:
        channels, levels: of the images.
        size: (H, W) of the images.
        code_size: m.
        encoder_features: of the encoder's first convolution.
        negative_slope: of all leaky ReLUs; files of version 0.1.0 mean 0.

    Raises:
        UsageError: a value is out of range.

    Example:
        >>> model = ConvolutionalAutoencoder(levels=4, size=(8, 8), code_size=10)
        >>> model.reconstruct(torch.randint(4, (2, 1, 8, 8))).shape
        torch.Size([2, 1, 8, 8])
    """

    conditions = ()

    def __init__(
        self,
        *,
        channels: int = 1,
        levels: int = 256,
        size: Sequence[int],
        code_size: int,
        encoder_features: int = 32,
        negative_slope: float = NEGATIVE_SLOPE,
    ) -> None:
        super().__init__()
        images: dict[str, Any] = {"channels": channels, "levels": levels, "size": size}
        images["negative_slope"] = negative_slope
        check_encoder(**images, code_size=code_size, encoder_features=encoder_features)
        self.channels, self.levels = plain(channels), plain(levels)
        self.size: tuple[int, int] = (plain(size[0]), plain(size[1]))
        self.code_size, self.encoder_features = plain(code_size), plain(encoder_features)
        self.negative_slope = plain(negative_slope)
        self.encoder = ImageEncoder(**images, outputs=code_size, features=encoder_features)
        features, height, width = self.encoder.inner
        self.enter = nn.Linear(code_size, features * height * width)
        layers: list[nn.Module] = []
        while features > encoder_features:
            layers += [
                nn.LeakyReLU(negative_slope),
                ConvTranspose2d(features, features // 2, 4, stride=2, padding=1),
            ]
            features //= 2
        self.deconvolutions = nn.Sequential(
            *layers, nn.LeakyReLU(negative_slope), Conv2d(features, channels, 3, padding=1)
        )

    def config(self) -> dict[str, Any]:
        """The keywords that rebuild this model."""
        own = ("channels", "levels", "code_size", "encoder_features", "negative_slope")
        return {name: getattr(self, name) for name in own} | {"size": list(self.size)}

    @property
    def figure(self) -> Figure:
        """The mean squared error in levels²."""
        return Figure("error", "mean_squared_error", "levels²", self._squared_error)

    def _squared_error(self, bits_per_dim: float) -> float:
        """The error behind the mean log-density of the Gaussian."""
        scaled = 2 * bits_per_dim * math.log(2) - math.log(2 * math.pi)
        return scaled * ((self.levels - 1) / 2) ** 2

    @property
    def given_by_data(self) -> tuple[()]:
        """Nothing beside images."""
        return ()

    def infer(self, x: Tensor, values: Values) -> Values:  # noqa: ARG002
        """Nothing: the model has no conditions."""
        return values

    def encode(self, x: Tensor) -> Tensor:
        """The codes of images, (B, m)."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, m) to real values on [-1, 1], (B, C, H, W)."""
        inner = self.enter(code).unflatten(1, self.encoder.inner)
        return self.deconvolutions(inner)[:, :, : self.size[0], : self.size[1]]  # type: ignore[no-any-return]

    def forward(self, x: Tensor, condition: ValuesLike = None) -> Objective:  # noqa: ARG002
        """The log-density of the Gaussian around the reconstruction."""
        return _Gaussian(self.decode(self.encode(x)), self.levels)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The reconstructions of images, rounded to integers, (B, C, H, W)."""
        values = self.decode(self.encode(x.to(self.device)))
        return ((values + 1) * ((self.levels - 1) / 2)).round().clamp(0, self.levels - 1).long()


def _precise(outputs: Tensor) -> Tensor:
    """At least float32, even if autocast computed in a lower precision."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


class _Gaussian:
    """Independent Gaussians of variance 1, of values scaled to [-1, 1]."""

    def __init__(self, mean: Tensor, levels: int) -> None:
        self._mean, self._levels = _precise(mean), levels

    def log_prob(self, x: Tensor) -> Tensor:
        check_integers(x, self._levels)
        check_range(x, self._levels)
        centred = x.to(self._mean.dtype) * (2 / (self._levels - 1)) - 1
        return -0.5 * (centred - self._mean) ** 2 - 0.5 * math.log(2 * math.pi)
