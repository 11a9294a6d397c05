"""What auto-encoders are for: reconstructions, and the likelihoods of variational ones.

Conditional Image Generation with PixelCNN Decoders, section 2.4; bounds by Kingma & Welling (2014)
and Burda et al. (2016).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from nextpixel.conditions.values import Values
from nextpixel.devices import draw_noise, full_precision
from nextpixel.models.autoencoder import PixelCNNAutoencoder, gaussian_divergence
from nextpixel.models.core import check_values, evaluating
from nextpixel.models.trainable import Trainable
from nextpixel.sampling import Progress, sample
from nextpixel.scoring import score

__all__ = [
    "divergence",
    "importance_weighted_bound",
    "likelihood_of",
    "log_weights",
    "lower_bound",
    "reconstruct",
]


def reconstruct(
    model: PixelCNNAutoencoder,
    x: Shaped[Tensor, "B C H W"],
    *,
    draws: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Int[Tensor, "B draws C H W"]:
    """Draws images from p(x' | h), h the code of each image.

    What the code holds stays; everything else is drawn anew.

    Args:
        model: an auto-encoder with an autoregressive decoder.
        x: integers of the model's size.
        draws: of each image.
        temperature, generator, progress: as for `sample`.

    Raises:
        ValueError: x or draws does not fit.
    """
    if draws < 1:
        raise ValueError(f"draws (={draws}) must be at least 1")
    check_values(model, x)
    with torch.no_grad(), full_precision(model.device):
        codes = evaluating(model).encode(x.to(model.device))
    drawn = sample(
        model,
        len(x) * draws,
        (x.shape[2], x.shape[3]),
        condition=codes.repeat_interleave(draws, dim=0),
        temperature=temperature,
        generator=generator,
        progress=progress,
    )
    return drawn.view(len(x), draws, *x.shape[1:])


def lower_bound(
    model: PixelCNNAutoencoder,
    x: Shaped[Tensor, "B C H W"],
    *,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """The evidence lower bound E_q log p(x | h) - KL(q(h | x) || p(h)) of each image.

    Nats, float64, on the CPU. In expectation it is never more than log p(x), so it does not compare
    with exact likelihoods.

    Args:
        model: a variational auto-encoder.
        x: integers of the model's size.
        samples: codes drawn of each image; more make the figure less noisy, not the bound tighter.
        generator: source of randomness; None takes torch's default generator.
    """
    terms = [score(model, x, code) for code, _ in _codes(model, x, samples, generator)]
    return torch.stack(terms).mean(dim=0) - divergence(model, x)


def importance_weighted_bound(
    model: PixelCNNAutoencoder,
    x: Shaped[Tensor, "B C H W"],
    *,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Log 1/k Σ p(x | h_i) p(h_i) / q(h_i | x) with k codes from q; more codes make it tighter.

    Arguments as for `lower_bound`.
    """
    return log_weights(model, x, samples=samples, generator=generator).logsumexp(dim=0) - math.log(
        samples
    )


def log_weights(
    model: PixelCNNAutoencoder,
    x: Shaped[Tensor, "B C H W"],
    *,
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples B"]:
    """Log p(x | h_i) p(h_i) / q(h_i | x) of codes h_i from q; arguments as for `lower_bound`.

    Their mean estimates the lower bound. The logarithm of the mean weight is the
    importance-weighted bound, which is never lower.
    """
    return torch.stack(
        [
            score(model, x, code) + log_ratio
            for code, log_ratio in _codes(model, x, samples, generator)
        ]
    )


def divergence(model: PixelCNNAutoencoder, x: Shaped[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """KL(q(h | x) || p(h)) of each image in nats: what the code costs, float64, on the CPU."""
    with torch.no_grad(), full_precision(model.device):
        posterior = evaluating(model).posterior(x.to(model.device))
        return gaussian_divergence(*posterior).sum(dim=1).cpu().double()


def likelihood_of(model: Trainable) -> Callable[..., Tensor]:
    """How training and evaluation score images: a function of (model, x, condition), in nats.

    The exact log p(x | condition), or for a model whose figure is a bound the lower bound of log
    p(x), with the same draws each time. A model without a likelihood is scored by its training
    objective.
    """
    kinds: dict[str, Callable[..., Tensor]] = {
        "likelihood": score,
        "bound": _bound,
        "error": _objective,
    }
    return kinds[model.figure.kind]


def _bound(model: PixelCNNAutoencoder, x: Tensor, _: Values) -> Tensor:
    return lower_bound(model, x, generator=torch.Generator().manual_seed(0))


def _objective(model: Trainable, x: Tensor, _: Values) -> Tensor:
    with torch.no_grad(), full_precision(model.device):
        return evaluating(model)(x).log_prob(x).cpu().double().sum(dim=(1, 2, 3))  # type: ignore[no-any-return]


def _codes(
    model: PixelCNNAutoencoder, x: Tensor, samples: int, generator: torch.Generator | None
) -> list[tuple[Tensor, Tensor]]:
    """Codes from q(h | x), (B, m) each, and log p(h) - log q(h | x), (B,)."""
    if samples < 1:
        raise ValueError(f"samples (={samples}) must be at least 1")
    check_values(model, x)
    with torch.no_grad(), full_precision(model.device):
        mean, log_deviation = evaluating(model).posterior(x.to(model.device))
    drawn = []
    for _ in range(samples):
        normal = draw_noise(torch.randn, mean.shape, generator).to(mean)
        code = mean + log_deviation.exp() * normal
        log_ratio = (0.5 * (normal**2 - code**2) + log_deviation).sum(dim=1)
        drawn.append((code, log_ratio.cpu().double()))
    return drawn
