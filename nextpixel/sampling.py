"""Drawing images, and completing them.

Ancestral sampling, one sub-pixel after another (Pixel Recurrent Neural Networks, section 2.1; occluded completions,
figure 1). One uniform number per sub-pixel decides it through the inverse of its distribution function, so the same
noise gives the same picture whatever the batch, and similar distributions give similar pictures.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from nextpixel.cache import Site
from nextpixel.layers.conditioning import one_each
from nextpixel.models.core import ImageModel, check_values
from nextpixel.walk import walk

__all__ = ["complete", "sample"]

Progress = Callable[[Iterable[Site], int], Iterable[Site]]


def sample(
    model: ImageModel,
    n: int,
    shape: tuple[int, int],
    *,
    condition: Tensor | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "n C H W"]:
    """Draws images from the model.

    Cost: about the arithmetic of one full pass per image, in H·W·C steps that follow one another. A batch shares
    those steps, so many images at once cost little more than one.

    Args:
        model: any model.
        n: number of images.
        shape: (H, W), any size.
        condition: a batch of n conditions, or one for all images; None for an unconditional model.
        temperature: divides the log-probabilities; 1 draws from the model, less gives likelier and more uniform
            pictures, 0 takes the likeliest value every time. Only at 1 does the model's likelihood describe samples.
        generator: source of randomness; None takes torch's default generator. The same state gives the same images,
            and image i does not depend on n, nor on the batch but for rounding: in float32 a batch of another size
            may add in another order, which now and then tips a draw.
        batch_size: images walked at once.
        progress: wraps the iteration over sites, e.g. to show a bar: called as progress(iterable, length).

    Returns:
        Integers 0 … levels-1, (n, C, H, W), int64, on the model's device.

    Raises:
        ValueError: n, shape, temperature or condition is out of range, or the model's weights are NaN.

    Example:
        >>> from nextpixel import GatedPixelCNN
        >>> model = GatedPixelCNN(levels=4, features=8, layers=2)
        >>> sample(model, 2, (5, 7), generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 5, 7])
    """
    height, width = shape
    if n < 0 or height < 1 or width < 1:
        raise ValueError(f"n (={n}) must not be negative and shape (={tuple(shape)}) must be at least (1, 1)")
    x = torch.zeros(n, model.channels, height, width, dtype=torch.int64, device=model.device)
    return _fill(model, x, None, condition, temperature, generator, batch_size, progress)


def complete(
    model: ImageModel,
    x: Shaped[Tensor, "B C H W"],
    known: Shaped[Tensor, "..."],
    *,
    draws: int = 1,
    condition: Tensor | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "B draws C H W"]:
    """Fills in the unknown sub-pixels of images, several times each.

    Every unknown sub-pixel is drawn given all earlier ones, known or drawn. This is the **exact** conditional
    p(unknown | known) if the known sub-pixels come first in raster order (say, the upper half). Known sub-pixels
    *after* an unknown one are kept, but do not inform it: draws above or left of them need not agree with them.

    Args:
        model: any model.
        x: images (B, C, H, W), integers; unknown sub-pixels may hold anything.
        known: True where x is known; any shape that broadcasts to that of x, such as (H, W) or (B, 1, H, W).
        draws: completions of each image.
        condition: a batch of B conditions, or one for all images.
        temperature: as for `sample`.
        generator: as for `sample`.
        batch_size: images walked at once.
        progress: as for `sample`.

    Returns:
        Integers (B, draws, C, H, W), int64, on the model's device.

    Raises:
        ValueError: x, known, draws, temperature or condition does not fit.
    """
    if x.ndim != 4 or x.shape[1] != model.channels:
        raise ValueError(f"x has shape {tuple(x.shape)}; this model takes (B, {model.channels}, H, W)")
    if known.dtype != torch.bool:
        raise TypeError(f"known has type {known.dtype}; give booleans, True where a sub-pixel is known")
    if draws < 1:
        raise ValueError(f"draws (={draws}) must be at least 1")
    try:
        known = known.expand(x.shape)
    except RuntimeError:
        shapes = f"{tuple(known.shape)} does not broadcast to that of x, {tuple(x.shape)}"
        raise ValueError(f"the shape of known, {shapes}; give for example (H, W)") from None
    check_values(model, x[known])
    x, known = x.to(model.device, torch.int64), known.to(model.device)
    batch = x.shape[0]
    condition = one_each(model.condition, condition, batch, (x.shape[2], x.shape[3]), model.device)
    filled = _fill(
        model,
        x.masked_fill(~known, 0).repeat_interleave(draws, dim=0),
        known.repeat_interleave(draws, dim=0),
        None if condition is None else condition.repeat_interleave(draws, dim=0),
        temperature,
        generator,
        batch_size,
        progress,
    )
    return filled.view(batch, draws, *x.shape[1:])


@torch.inference_mode()
def _fill(
    model: ImageModel,
    x: Tensor,
    known: Tensor | None,
    condition: Tensor | None,
    temperature: float,
    generator: torch.Generator | None,
    batch_size: int,
    progress: Progress | None,
) -> Tensor:
    """Draws the sub-pixels of x that are not known, in place."""
    if not temperature >= 0:
        raise ValueError(f"temperature (={temperature}) must not be negative")
    if batch_size < 1:
        raise ValueError(f"batch_size (={batch_size}) must be at least 1")
    condition = one_each(model.condition, condition, x.shape[0], (x.shape[2], x.shape[3]), model.device)
    device = generator.device if generator is not None else torch.device("cpu")
    # The factor keeps it below 1 when it is multiplied and rounded.
    noise = torch.rand(x.shape, generator=generator, device=device) * (1 - 2**-22)
    noise = noise.to(x.device, torch.promote_types(model.dtype, torch.float32))
    rows = torch.ones(x.shape[2], dtype=torch.bool) if known is None else (~known).any(dim=(0, 1, 3)).cpu()

    def fill_batches() -> Iterator[Site]:
        for start in range(0, len(x), batch_size):
            batch = slice(start, start + batch_size)
            given = None if condition is None else condition[batch]
            for site, log_pmf in walk(model, x[batch], given, rows=rows):
                here = (batch, *site)
                value = inverse_cdf(log_pmf, noise[here], temperature)
                x[here] = value if known is None else torch.where(known[here], x[here], value)
                yield site

    steps = -(-len(x) // batch_size) * int(rows.sum()) * x.shape[3] * x.shape[1]
    for _ in progress(fill_batches(), steps) if progress else fill_batches():
        pass
    if x.numel() and int(x.max()) >= model.levels:
        raise ValueError("the model's probabilities are NaN: its weights are damaged; load or train others")
    return x


def inverse_cdf(log_pmf: Tensor, uniform: Tensor, temperature: float = 1.0) -> Tensor:
    """The value at which the distribution function passes a uniform number: (B, levels) and (B,) to (B,).

    Never a value of probability zero, if the number is below 1 by more than rounding. Temperature 0 takes the
    likeliest value.
    """
    if temperature == 0:
        return log_pmf.argmax(dim=1)
    pmf = log_pmf.exp() if temperature == 1 else torch.softmax(log_pmf.double() / temperature, dim=1)
    cdf = pmf.cumsum(dim=1)
    return torch.searchsorted(cdf, uniform[:, None].to(cdf.dtype) * cdf[:, -1:], right=True)[:, 0]
