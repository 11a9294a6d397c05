"""Draw images, and complete them.

Ancestral sampling, one sub-pixel after another (Pixel Recurrent Neural Networks, section 2.1;
occluded completions, figure 1). One uniform number per sub-pixel decides it through the inverse of
its distribution function, so the same noise gives the same picture whatever the batch, and similar
distributions give similar pictures.
"""

from collections.abc import Sequence
from typing import Literal, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nextpixel.arguments import whole_number
from nextpixel.border import (
    ConditionGiven,
    Images,
    Mask,
    admit_condition,
    checked_generator,
    checked_shape,
    model_of,
)
from nextpixel.completing import completed
from nextpixel.conditions.values import index
from nextpixel.devices import widest
from nextpixel.errors import UsageError
from nextpixel.filling import Batch, Progress, batches, fill
from nextpixel.orders import Order, known_order, turn_each
from nextpixel.particles import uniform
from nextpixel.scoring import score
from nextpixel.turning import side_by_side, turned

__all__ = ["Progress", "complete", "sample"]


@overload
def sample(
    model: nn.Module,
    n: int,
    shape: Sequence[int],
    *,
    condition: ConditionGiven = None,
    order: Order | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    common_noise: bool = False,
    return_log_prob: Literal[False] = False,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "n C H W"]: ...
@overload
def sample(
    model: nn.Module,
    n: int,
    shape: Sequence[int],
    *,
    condition: ConditionGiven = None,
    order: Order | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    common_noise: bool = False,
    return_log_prob: Literal[True],
    batch_size: int = 256,
    progress: Progress | None = None,
) -> tuple[Int[Tensor, "n C H W"], Float[Tensor, " n"]]: ...
def sample(
    model: nn.Module,
    n: int,
    shape: Sequence[int],
    *,
    condition: ConditionGiven = None,
    order: Order | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    common_noise: bool = False,
    return_log_prob: bool = False,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "n C H W"] | tuple[Int[Tensor, "n C H W"], Float[Tensor, " n"]]:
    """Draws images from the model.

    Cost: about the arithmetic of one full pass per image, in H·W·C steps that follow one another. A
    batch shares those steps, so many images at once cost little more than one.

    Args:
        model: any model, or a module as for `as_model`.
        n: number of images.
        shape: (H, W), any size.
        condition: a value for each of the n images, or one for all; several conditions are a tuple;
            None for an unconditional model.
        order: in which to draw, one that the model knows. None draws one for each image, which
            together are draws from the mixture that `score` gives.
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
        return_log_prob: whether to return log p(x | condition) of each image too. It is summed up
            on the way, without a second pass, and does not depend on the parameters for autograd.
        batch_size: images walked at once.
        progress: wraps the iteration over sites, e.g. to show a bar: ``tqdm.tqdm``, or a function
            that is called as progress(iterable, length).

    Returns:
        Integers 0 … levels-1, (n, C, H, W), int64, on the model's device. With `return_log_prob`
        also the log-likelihoods in nats, (n,), float64, on the CPU: those of `score`.

    Raises:
        ValueError: n, shape, order, temperature, guidance or condition is out of range, the model's
            weights are NaN, or the log-probability is asked for at another temperature or guidance
            than 1, where images are not drawn from the model.
        TypeError: condition holds no numbers.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> model = GatedPixelCNN(levels=4, features=8, layers=2)
        >>> sample(model, 2, (5, 7), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 5, 7])
    """
    model, n = model_of(model), whole_number("n", n, 0)
    height, width = checked_shape(shape)
    x = torch.zeros(n, model.channels, height, width, dtype=torch.int64, device=model.device)
    if return_log_prob and not temperature == guidance == 1:
        raise UsageError(
            f"‹return_log_prob› needs ‹temperature› and ‹guidance› of 1, not {temperature} and"
            f" {guidance}: other images are not drawn from the model; score them instead"
        )
    values = admit_condition(model, condition, n, (height, width))
    generator = checked_generator(generator)
    count, orders = 1 if common_noise and n else n, [known_order(model.orders, order)] * n
    mixture = order is None and len(model.orders) > 1
    if not mixture:
        noise = uniform((count, *x.shape[1:]), generator).to(x.device).expand(x.shape)
    else:  # One number more for each image, so that they do not depend on n.
        numbers = uniform((count, x.shape[1:].numel() + 1), generator).expand(n, -1)
        noise = numbers[:, :-1].reshape(x.shape).to(x.device)
        orders = [model.orders[int(number * len(model.orders))] for number in numbers[:, -1]]
    nats = torch.zeros(n, dtype=widest(x.device), device=x.device) if return_log_prob else None
    every: list[Batch] = []
    drawn: list[tuple[Tensor, list[Order], Tensor, Tensor | None]] = []
    for images in side_by_side(orders, (height, width)):
        own, part = [orders[k] for k in images], torch.tensor(images, device=x.device)
        seen, given = turned(model, own, x[part], index(values, part))
        seen = seen.contiguous()  # laid out as the noise is
        sums = None if nats is None else nats[part]
        turned_noise = turn_each(own, noise[part])
        options = temperature, guidance, turned_noise, batch_size
        every += batches(model, seen, None, given, *options, nats=sums)
        drawn.append((part, own, seen, sums))
    fill(every, x.device, progress)
    for part, own, seen, sums in drawn:
        x[part] = turn_each([order.back for order in own], seen)
        if nats is not None and sums is not None:
            nats[part] = sums
    if nats is None:
        return x
    return x, score(model, x, values) if mixture else nats.cpu().double()


def complete(
    model: nn.Module,
    x: Images,
    known: Mask,
    *,
    draws: int = 1,
    particles: int = 32,
    condition: ConditionGiven = None,
    order: Order | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "*B draws C H W"]:
    """Fills in the unknown sub-pixels of images, several times each.

    Every unknown sub-pixel is drawn given all earlier ones, known or drawn. If the known sub-pixels
    come first in the order (in raster order, the upper half), that is the **exact** conditional
    p(unknown | known). Known sub-pixels *after* an unknown one inform it by **particles**: so many
    walkers draw side by side, are weighed by the probability that they give to each known value on
    their way, and the better ones are copied in the place of the others; one is kept. This is exact
    **in the limit** of many particles. It mends scratches and small gaps. It cannot steer what is
    drawn long before the known pixels that should steer it, such as an upper half given the lower
    one: then hardly two different walkers are left, and a warning is logged.

    With ``particles=1``, known sub-pixels after an unknown one are kept, but inform nothing: draws
    above or left of them need not agree with them.

    A model of several orders completes each image in the one that suits its mask, see
    `turning.best_order`. A `MultiScale` goes through the whole small image first
    (`turning.visiting_order`): its completions are exact if the whole small image is known, and not
    if an upper half is.

    Args:
        model: any model, or a module as for `as_model`.
        x: images (B, C, H, W), or one image (C, H, W), integers; unknown sub-pixels may hold
            anything. See `nextpixel.border`.
        known: True where x is known; any shape that broadcasts to that of x, such as (H, W) or (B,
            1, H, W).
        draws: completions of each image. Each has walkers of its own: draws are independent.
        particles: K, walkers of each draw. They take up to K times the work, on the part of the
            image that they go through. Images whose known sub-pixels come first have no need of
            them, and have one walker; so have all images at temperature 0.
        condition: a value for each of the B images, or one for all; several conditions are a tuple.
        order: in which to draw, one that the model knows; None chooses it for each image.
        temperature, guidance, generator: as for `sample`. Walkers are weighed by the distributions
            that temperature and guidance make.
        batch_size: images walked at once, where each walker is one; but at least those of a draw.
        progress: as for `sample`.

    Returns:
        Integers (B, draws, C, H, W), or (draws, C, H, W) of one image; int64, on the model's
        device. `complete_with_evidence` also tells how many walkers were left, and how probable the
        known sub-pixels are.

    Raises:
        ValueError: x, known, draws, particles, order, temperature, guidance or condition does not
            fit.
        TypeError: known does not hold booleans or x no integers, or condition no numbers.
    """
    drawing = temperature, guidance, generator, batch_size, progress
    found = completed(model, x, known, draws, particles, condition, order, *drawing)
    return found.of_one(found.completion).images
