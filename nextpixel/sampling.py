"""Draw images, and complete them.

Ancestral sampling, one sub-pixel after another (Pixel Recurrent Neural Networks, section 2.1;
occluded completions, figure 1). One uniform number per sub-pixel decides it through the inverse of
its distribution function, so the same noise gives the same picture whatever the batch, and similar
distributions give similar pictures.
"""

import math
from collections.abc import Callable, Generator, Iterable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from nextpixel.conditions.values import (
    Values,
    ValuesLike,
    broadcast,
    index,
    map_values,
    unknown,
)
from nextpixel.devices import draw_noise, widest
from nextpixel.front.place import Front
from nextpixel.models.core import ImageModel, check_values, evaluating
from nextpixel.plan import Plan, Step, apart, quietly

__all__ = ["complete", "sample"]

Progress = Callable[[Iterable[Step], int], Iterable[Step]]


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
    noise = _noise(x[:1] if common_noise and n else x, generator).expand(x.shape)
    return _fill(model, x, None, condition, temperature, guidance, noise, batch_size, progress)


def complete(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    known: Shaped[Tensor, "..."],
    *,
    draws: int = 1,
    condition: ValuesLike = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "B draws C H W"]:
    """Fills in the unknown sub-pixels of images, several times each.

    Every unknown sub-pixel is drawn given all earlier ones, known or drawn. This is the **exact**
    conditional p(unknown | known) if the known sub-pixels come first in raster order (say, the
    upper half). Known sub-pixels *after* an unknown one are kept, but do not inform it: draws above
    or left of them need not agree with them. A `MultiScale` goes through the whole small image
    first (`models.core.visiting_order`): its completions are exact if the whole small image is
    known, and not if an upper half is.

    Args:
        model: any model.
        x: images (B, C, H, W), integers; unknown sub-pixels may hold anything.
        known: True where x is known; any shape that broadcasts to that of x, such as (H, W) or (B,
            1, H, W).
        draws: completions of each image.
        condition: a value for each of the B images, or one for all; several conditions are a tuple.
        temperature, guidance, generator: as for `sample`.
        batch_size: images walked at once.
        progress: as for `sample`.

    Returns:
        Integers (B, draws, C, H, W), int64, on the model's device.

    Raises:
        ValueError: x, known, draws, temperature, guidance or condition does not fit.
        TypeError: known does not hold booleans or x no integers, or condition no tensors.
    """
    if x.ndim != 4 or x.shape[1] != model.channels:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; this model takes (B, {model.channels}, H, W)"
        )
    if known.dtype != torch.bool:
        raise TypeError(
            f"known has type {known.dtype}; give booleans, True where a sub-pixel is known"
        )
    if draws < 1:
        raise ValueError(f"draws (={draws}) must be at least 1")
    try:
        known = known.expand(x.shape)
    except RuntimeError:
        shapes = f"{tuple(known.shape)} does not broadcast to that of x, {tuple(x.shape)}"
        raise ValueError(f"the shape of known, {shapes}; give for example (H, W)") from None
    x, known = x.to(model.device), known.to(model.device)
    check_values(model, x[known])
    x = x.long()
    batch = x.shape[0]
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, batch, size, model.device)
    blank = x.masked_fill(~known, 0).repeat_interleave(draws, dim=0)
    filled = _fill(
        model,
        blank,
        known.repeat_interleave(draws, dim=0),
        map_values(lambda value: value.repeat_interleave(draws, dim=0), values),
        temperature,
        guidance,
        _noise(blank, generator),
        batch_size,
        progress,
    )
    return filled.view(batch, draws, *x.shape[1:])


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers for all sub-pixels."""
    # The factor keeps the numbers below 1 when they are multiplied and rounded.
    return (draw_noise(torch.rand, like.shape, generator) * (1 - 2**-22)).to(like.device)


def _fill(
    model: ImageModel,
    x: Tensor,
    known: Tensor | None,
    condition: ValuesLike,
    temperature: float,
    guidance: float,
    noise: Tensor,
    batch_size: int,
    progress: Progress | None,
) -> Tensor:
    """Draws the sub-pixels of x that are not known, in place."""
    for name, value in (("temperature", temperature), ("guidance", guidance)):
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{name} (={value}) must be a finite number of at least 0; 1 draws from the model"
                " itself"
            )
    if guidance != 1 and not model.conditions:
        raise ValueError(
            f"guidance (={guidance}) is towards a condition, but this model has none; leave it at 1"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size (={batch_size}) must be at least 1")
    size = x.shape[2], x.shape[3]
    values = broadcast(model.conditions, condition, x.shape[0], size, model.device)
    model = evaluating(model)
    noise = noise.to(torch.promote_types(model.dtype, torch.float32))
    missing = torch.ones(1, 1, 1, 1, dtype=torch.bool) if known is None else ~known.cpu()
    missing = missing.expand(x.shape)
    batches = [
        _Batch(model, x[part], missing[part], index(values, part), noise[part], guidance)
        for part in (slice(start, start + batch_size) for start in range(0, len(x), batch_size))
    ]

    steps = (step for batch in batches for step in batch.fill(temperature))
    fill = apart(steps, x.device)
    for _ in progress(fill, sum(len(b.plan) for b in batches)) if progress else fill:
        pass
    return x


# Steps after which values are checked: once for all, it costs nothing.
_CHECKED_TOGETHER = 256


class _Batch:
    """Images that are filled together; with guidance next to themselves without the condition."""

    def __init__(
        self,
        model: ImageModel,
        x: Tensor,
        missing: Tensor,
        values: Values,
        noise: Tensor,
        guidance: float,
    ) -> None:
        self._x, self._levels, self._guidance = x, model.levels, guidance
        self._images, copies = x, 1
        if guidance != 1:
            nothing = unknown(model.conditions, len(x), (x.shape[2], x.shape[3]))
            pairs = zip(values, nothing, strict=True)
            values = tuple(torch.cat([given, no.to(given)]) for given, no in pairs)
            self._images, copies = torch.cat([x, x]), 2
        # Laid out as the images are: a site is at one place in both.
        self._noise = noise.repeat(copies, 1, 1, 1)
        missing = missing.repeat(copies, 1, 1, 1)
        self.plan = Plan(model, self._images, values, missing, raster=False)

    def fill(self, temperature: float) -> Generator[Step, None, None]:
        """Draws what is missing."""
        drawn: list[Tensor] = []
        front: Front | None = None
        for step in self.plan.steps():
            if step.front is not front:
                front, part = step.front, step.part.of(self._noise)
                every = range(part.shape[1])
                colours = [(front.flat(front.x, c), front.flat(part, c)) for c in every]
            sites, (x, noise) = front.sites, colours[step.channel]
            with quietly(front):
                uniform, log_pmf = noise.index_select(0, sites), step.log_pmf()
                if self._guidance == 1:
                    value = inverse_cdf(log_pmf, uniform, temperature)
                else:
                    value = self._guided(log_pmf, uniform, temperature)
                drawn.append(value)
                value = value.clamp(max=self._levels - 1)  # what comes next may be a table's row
                x.index_copy_(0, sites, torch.where(step.wanted, value, x.index_select(0, sites)))
            if len(drawn) == _CHECKED_TOGETHER:
                self._check(drawn)
            yield step
        self._check(drawn)
        if self._images is not self._x:
            self._x.copy_(self._images[: len(self._x)])

    def _check(self, drawn: list[Tensor]) -> None:
        """Raises unless values exist, and forgets them."""
        # A sum that is NaN is never passed, so the index is past the last value.
        if drawn and int(torch.cat(drawn).amax()) >= self._levels:
            raise ValueError(
                "the model's probabilities are NaN: its weights are damaged; load or train others"
            )
        drawn.clear()

    def _guided(self, log_pmf: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Values of lanes with the condition, and of those without, which are the same."""
        guidance, halves = self._guidance, (-1, 2, len(self._x))
        knowing, ignorant = torch.unflatten(log_pmf.clamp(min=-1e9), 0, halves).unbind(1)
        mixed = torch.log_softmax(guidance * knowing + (1 - guidance) * ignorant, dim=2)
        of_one = torch.unflatten(noise, 0, halves)[:, 0].flatten()
        value = inverse_cdf(mixed.flatten(0, 1), of_one, temperature)
        value = torch.unflatten(value, 0, halves[::2])
        return torch.stack([value, value], dim=1).flatten()


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
