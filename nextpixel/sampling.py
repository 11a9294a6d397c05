"""Draw images, and complete them.

Ancestral sampling, one sub-pixel after another (Pixel Recurrent Neural Networks, section 2.1;
occluded completions, figure 1). One uniform number per sub-pixel decides it through the inverse of
its distribution function, so the same noise gives the same picture whatever the batch, and similar
distributions give similar pictures.
"""

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from nextpixel.completing import completed
from nextpixel.conditions.values import ValuesLike
from nextpixel.filling import Progress, fill
from nextpixel.models.core import ImageModel
from nextpixel.particles import uniform

__all__ = ["Progress", "complete", "sample"]


def sample(
    model: ImageModel,
    n: int,
    shape: tuple[int, int],
    *,
    condition: ValuesLike = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    common_noise: bool = False,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "n C H W"]:
    """Draws images from the model.

    Cost: about the arithmetic of one full pass per image, in H·W·C steps that follow one another. A
    batch shares those steps, so many images at once cost little more than one.

    Args:
        model: any model.
        n: number of images.
        shape: (H, W), any size.
        condition: a value for each of the n images, or one for all; several conditions are a tuple;
            None for an unconditional model.
        temperature: divides the log-probabilities; 1 draws from the model, less gives likelier and
            more uniform pictures, 0 takes the likeliest value every time. The model's likelihood
            describes samples at temperature 1 only.
        guidance: w in log p_w(x_i | x_<i, h) = (1 - w) log p(x_i | x_<i) + w log p(x_i | x_<i, h) +
            constant, for every sub-pixel. 1 draws from the model given h, 0 from the unconditional
            model; more than 1 exaggerates what h changes, at the cost of variety, and the model's
            likelihood no longer describes samples. Values other than 1 need a model that has seen
            unknown conditions in training, and take twice the time.
        generator: source of randomness; None takes torch's default generator. The same state gives
            the same images. Image i does not depend on n, nor on the batch except for rounding: in
            float32, a batch of another size may add in another order, which occasionally changes a
            draw.
        common_noise: whether all images are drawn with the same random numbers. Then they differ
            only by their conditions, and similar conditions give similar pictures, as for the
            interpolations of the paper.
        batch_size: images walked at once.
        progress: wraps the iteration over sites, e.g. to show a bar: called as progress(iterable,
            length).

    Returns:
        Integers 0 … levels-1, (n, C, H, W), int64, on the model's device.

    Raises:
        ValueError: n, shape, temperature, guidance or condition is out of range, or the model's
            weights are NaN.
        TypeError: condition is neither a tensor nor a tuple of tensors.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> model = GatedPixelCNN(levels=4, features=8, layers=2)
        >>> sample(model, 2, (5, 7), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 5, 7])
    """
    height, width = shape
    if n < 0 or height < 1 or width < 1:
        raise ValueError(
            f"n (={n}) must not be negative and shape (={tuple(shape)}) must be at least (1, 1)"
        )
    x = torch.zeros(n, model.channels, height, width, dtype=torch.int64, device=model.device)
    noise = uniform(x[:1].shape if common_noise and n else x.shape, generator).to(x.device)
    noise = noise.expand(x.shape)
    return fill(model, x, None, condition, temperature, guidance, noise, batch_size, progress)


def complete(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    known: Shaped[Tensor, "..."],
    *,
    draws: int = 1,
    particles: int = 32,
    condition: ValuesLike = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "B draws C H W"]:
    """Fills in the unknown sub-pixels of images, several times each.

    Every unknown sub-pixel is drawn given all earlier ones, known or drawn. If the known
    sub-pixels come first in raster order (say, the upper half), that is the **exact** conditional
    p(unknown | known). Known sub-pixels *after* an unknown one inform it by **particles**: so many
    walkers draw side by side, are weighed by the probability that they give to each known value on
    their way, and the better ones are copied in the place of the others; one is kept. This is exact
    **in the limit** of many particles. It mends scratches and small gaps. It cannot steer what is
    drawn long before the known pixels that should steer it, such as an upper half given the lower
    one: then hardly two different walkers are left, and a warning is logged.

    With ``particles=1``, known sub-pixels after an unknown one are kept, but inform nothing: draws
    above or left of them need not agree with them.

    A `MultiScale` goes through the whole small image first (`models.core.visiting_order`): its
    completions are exact if the whole small image is known, and not if an upper half is.

    Args:
        model: any model.
        x: images (B, C, H, W), integers; unknown sub-pixels may hold anything.
        known: True where x is known; any shape that broadcasts to that of x, such as (H, W) or (B,
            1, H, W).
        draws: completions of each image. Each has walkers of its own: draws are independent.
        particles: K, walkers of each draw. They take up to K times the work, on the part of the
            image that they go through. Images whose known sub-pixels come first have no need of
            them, and have one walker; so have all images at temperature 0.
        condition: a value for each of the B images, or one for all; several conditions are a tuple.
        temperature, guidance, generator: as for `sample`. Walkers are weighed by the distributions
            that temperature and guidance make.
        batch_size: images walked at once, where each walker is one; but at least those of a draw.
        progress: as for `sample`.

    Returns:
        Integers (B, draws, C, H, W), int64, on the model's device. `complete_with_evidence` also
        tells how many walkers were left, and how probable the known sub-pixels are.

    Raises:
        ValueError: x, known, draws, particles, temperature, guidance or condition does not fit.
        TypeError: known does not hold booleans or x no integers, or condition no tensors.
    """
    drawing = temperature, guidance, generator, batch_size, progress
    return completed(model, x, known, draws, particles, condition, *drawing).completion.images
