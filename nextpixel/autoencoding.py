"""What auto-encoders are for: reconstructions, and the likelihoods of variational ones.

Conditional Image Generation with PixelCNN Decoders, section 2.4; bounds by Kingma & Welling (2014)
and Burda et al. (2016).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpixel.arguments import instance_of, whole_number
from nextpixel.border import Images, admit_images, checked_generator
from nextpixel.conditions.values import Values
from nextpixel.devices import draw_noise, full_precision
from nextpixel.layers.integers import check_range
from nextpixel.models.autoencoder import PixelCNNAutoencoder, gaussian_divergence
from nextpixel.models.evaluation import evaluating
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
    x: Images,
    *,
    draws: int = 1,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Int[Tensor, "*B draws C H W"]:
    """Draws images from p(x' | h), h the code of each image.

    What the code holds stays; everything else is drawn anew.

    Args:
        model: an auto-encoder with an autoregressive decoder.
        x: images of the model's size, or one image (C, H, W), whose draws are (draws, C, H, W).
        draws: of each image.
        temperature, generator, progress: as for `sample`.

    Raises:
        ValueError: x or draws does not fit.
    """
    draws = whole_number("draws", draws, 1)
    model, x, single = _admitted(model, x)
    with torch.no_grad(), full_precision(model.device):
        codes = evaluating(model).encode(x)
    drawn = sample(
        model,
        len(x) * draws,
        (x.shape[2], x.shape[3]),
        condition=codes.repeat_interleave(draws, dim=0),
        temperature=temperature,
        generator=generator,
        progress=progress,
    )
    drawn = drawn.view(len(x), draws, *x.shape[1:])
    return drawn[0] if single else drawn


def lower_bound(
    model: PixelCNNAutoencoder,
    x: Images,
    *,
    samples: int = 1,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " *B"]:
    """The evidence lower bound E_q log p(x | h) - KL(q(h | x) || p(h)) of each image.

    Nats, float64, on the CPU. In expectation it is never more than log p(x), so it does not compare
    with exact likelihoods.

    Args:
        model: a variational auto-encoder.
        x: integers of the model's size.
        samples: codes drawn of each image; more make the figure less noisy, not the bound tighter.
        generator: source of randomness; None takes torch's default generator.
    """
    return _lower_bound(score, model, x, samples, generator)


def _lower_bound(
    nats_of: Callable[..., Tensor],
    model: PixelCNNAutoencoder,
    x: Images,
    samples: int,
    generator: torch.Generator | None,
) -> Float[Tensor, " *B"]:
    """`lower_bound`, where `nats_of` gives log p(x | h)."""
    terms = [nats_of(model, x, code) for code, _ in _codes(model, x, samples, generator)]
    return torch.stack(terms).mean(dim=0) - divergence(model, x)


def importance_weighted_bound(
    model: PixelCNNAutoencoder,
    x: Images,
    *,
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " *B"]:
    """Log 1/k Σ p(x | h_i) p(h_i) / q(h_i | x) with k codes from q; more codes make it tighter.

    Arguments as for `lower_bound`.
    """
    return log_weights(model, x, samples=samples, generator=generator).logsumexp(dim=0) - math.log(
        samples
    )


def log_weights(
    model: PixelCNNAutoencoder,
    x: Images,
    *,
    samples: int,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "samples ..."]:
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


def divergence(model: PixelCNNAutoencoder, x: Images) -> Float[Tensor, " *B"]:
    """KL(q(h | x) || p(h)) of each image in nats: what the code costs, float64, on the CPU."""
    model, x, single = _admitted(model, x)
    with torch.no_grad(), full_precision(model.device):
        posterior = evaluating(model).posterior(x)
        nats = gaussian_divergence(*posterior).sum(dim=1).cpu().double()
    return nats[0] if single else nats


def likelihood_of(
    model: Trainable, nats_of: Callable[..., Tensor] = score
) -> Callable[..., Tensor]:
    """How training and evaluation score images: a function of (model, x, condition), in nats.

    The exact log p(x | condition), or for a model whose figure is a bound the lower bound of log
    p(x), with the same draws each time. A model without a likelihood is scored by its training
    objective.

    Args:
        model: what is scored.
        nats_of: log p(x | condition), exactly, as another function of the same.
    """
    kinds: dict[str, Callable[..., Tensor]] = {
        "likelihood": nats_of,
        "bound": partial(_bound, nats_of),
        "error": _objective,
    }
    return kinds[model.figure.kind]


def _bound(
    nats_of: Callable[..., Tensor], model: PixelCNNAutoencoder, x: Tensor, _: Values
) -> Tensor:
    return _lower_bound(nats_of, model, x, 1, torch.Generator().manual_seed(0))


def _objective(model: Trainable, x: Tensor, _: Values) -> Tensor:
    with torch.no_grad(), full_precision(model.device):
        return evaluating(model)(x).log_prob(x).cpu().double().sum(dim=(1, 2, 3))  # type: ignore[no-any-return]


def _codes(
    model: PixelCNNAutoencoder, x: Images, samples: int, generator: torch.Generator | None
) -> list[tuple[Tensor, Tensor]]:
    """Codes from q(h | x), (B, m) each, and log p(h) - log q(h | x), (B,), or () of one image."""
    samples, generator = whole_number("samples", samples, 1), checked_generator(generator)
    model, x, single = _admitted(model, x)
    with torch.no_grad(), full_precision(model.device):
        mean, log_deviation = evaluating(model).posterior(x)
    drawn = []
    for _ in range(samples):
        normal = draw_noise(torch.randn, mean.shape, generator).to(mean)
        code = mean + log_deviation.exp() * normal
        log_ratio = (0.5 * (normal**2 - code**2) + log_deviation).sum(dim=1)
        nats = log_ratio.cpu().double()
        drawn.append((code, nats[0] if single else nats))
    return drawn


def _admitted(model: Any, x: Any) -> tuple[PixelCNNAutoencoder, Tensor, bool]:
    """An auto-encoder, images that it takes, on its device, and whether it is one image."""
    model = instance_of("model", model, PixelCNNAutoencoder, "its codes are what is asked for")
    _, x, single = admit_images(model, x)
    check_range(x, model.levels)
    return model, x.to(model.device), single
