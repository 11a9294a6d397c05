"""Interpolate from one image's condition to another's, with common random numbers.

Conditional Image Generation with PixelCNN Decoders, section 3.3 and figure 5: linear interpolation
between the embeddings of two portraits.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpixel.conditions.kinds import VectorCondition, of_kind
from nextpixel.conditions.values import ValuesLike, as_values
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order
from nextpixel.sampling import Progress, sample

__all__ = ["between", "interpolate"]


def between(
    first: Float[Tensor, " size"],
    last: Float[Tensor, " size"],
    steps: int,
    *,
    keep_length: bool = False,
) -> Float[Tensor, "steps size"]:
    """Vectors on the straight line from one to another, both included.

    Args:
        first, last: the ends.
        steps: how many vectors, at least 2.
        keep_length: whether to scale each vector to a length between those of the ends. The
            straight line between two points of a sphere leaves the sphere, and a model of unit
            vectors has seen no others.

    Raises:
        ValueError: there are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"steps (={steps}) must be at least 2, for the two ends")
    share = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device)[:, None]
    line = (1 - share) * first + share * last
    if keep_length:
        lengths = (1 - share) * first.norm() + share * last.norm()
        line = line * (lengths / line.norm(dim=1, keepdim=True).clamp(min=1e-12))
    return line


def interpolate(
    model: ImageModel,
    first: ValuesLike,
    last: ValuesLike,
    shape: tuple[int, int],
    *,
    steps: int = 8,
    keep_length: bool = False,
    order: Order | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> Int[Tensor, "steps C H W"]:
    """Draws an image at each step from one condition to another: a row that changes gradually.

    All images are drawn with the same random numbers, so they differ only by their conditions.

    Args:
        model: a model conditioned on vectors, such as embeddings, attributes or the codes of an
            auto-encoder, and possibly on more.
        first, last: the conditions of one image at each end: a vector (size,), or a tuple of all
            conditions. Only vectors change on the way; all else is that of `first`.
        shape: (H, W) of the images.
        steps, keep_length: see `between`.
        order, temperature, guidance, generator, batch_size, progress: as for `sample`.

    Raises:
        UsageError: the model is not conditioned on vectors, or the conditions do not fit.
    """
    vectors = of_kind(model.conditions, VectorCondition)
    if not vectors:
        raise UsageError("interpolation is between vectors; this model is not conditioned on any")
    ends = as_values(first), as_values(last)
    for name, values in zip(("first", "last"), ends, strict=True):
        if len(values) != len(model.conditions):
            raise UsageError(
                f"{name} has {len(values)} tensors, but this model has {len(model.conditions)}"
                f" conditions; give one tensor for each in ‹{name}›"
            )
    on_the_way = tuple(
        between(a.to(model.device), b.to(model.device), steps, keep_length=keep_length)
        if place in vectors
        else a[None].expand(steps, *a.shape)
        for place, (a, b) in enumerate(zip(*ends, strict=True))
    )
    return sample(
        model,
        steps,
        shape,
        condition=on_the_way,
        order=order,
        temperature=temperature,
        guidance=guidance,
        generator=generator,
        common_noise=True,
        batch_size=batch_size,
        progress=progress,
    )
