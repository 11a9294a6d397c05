"""Interpolate from one image's condition to another's, with common random numbers.

Conditional Image Generation with PixelCNN Decoders, section 3.3 and figure 5: linear interpolation
between the embeddings of two portraits.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpixel.arguments import whole_number
from nextpixel.border import ConditionGiven, admit_condition, checked_shape, model_of, tensor_of
from nextpixel.conditions.kinds import VectorCondition, of_kind
from nextpixel.errors import UsageError
from nextpixel.models.core import ImageModel
from nextpixel.orders import Order
from nextpixel.sampling import Progress, sample

__all__ = ["between", "interpolate"]


def between(
    first: ConditionGiven,
    last: ConditionGiven,
    steps: int,
    *,
    keep_length: bool = False,
) -> Float[Tensor, "steps size"]:
    """Vectors on the straight line from one to another, both included.

    Args:
        first, last: the ends, (size,).
        steps: how many vectors, at least 2.
        keep_length: whether to scale each vector to a length between those of the ends. The
            straight line between two points of a sphere leaves the sphere, and a model of unit
            vectors has seen no others.

    Raises:
        ValueError: there are fewer than two steps, or the ends are no two vectors of one size.
        TypeError: an end holds no numbers.
    """
    steps = whole_number("steps", steps, 2)
    first, last = _end("first", first), _end("last", last)
    if first.shape != last.shape:
        raise UsageError(
            f"‹first› has {len(first)} entries and ‹last› {len(last)}; give vectors of one size"
        )
    share = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device)[:, None]
    line = (1 - share) * first + share * last
    if keep_length:
        lengths = (1 - share) * first.norm() + share * last.norm()
        line = line * (lengths / line.norm(dim=1, keepdim=True).clamp(min=1e-12))
    return line


def _end(name: str, given: ConditionGiven) -> Tensor:
    """A vector of finite reals; an unknown one has no place on a line."""
    end = tensor_of(name, given)
    end = end if end.is_floating_point() else end.to(torch.get_default_dtype())
    if end.ndim != 1 or not end.isfinite().all():
        found = f"has shape {tuple(end.shape)}" if end.ndim != 1 else "is unknown or not finite"
        raise UsageError(f"‹{name}› {found}; give a vector (size,) of numbers")
    return end


def interpolate(
    model: ImageModel,
    first: ConditionGiven,
    last: ConditionGiven,
    shape: Sequence[int],
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
        UsageError: the model is not conditioned on vectors, a vector is unknown, or the conditions
            do not fit.
    """
    model, size = model_of(model), checked_shape(shape)
    steps = whole_number("steps", steps, 2)
    vectors = of_kind(model.conditions, VectorCondition)
    if not vectors:
        raise UsageError("interpolation is between vectors; this model is not conditioned on any")
    for name, end in (("first", first), ("last", last)):
        if (count := len(end) if isinstance(end, tuple) else 1) != len(model.conditions):
            raise UsageError(
                f"{name} has {count} tensors, but this model has {len(model.conditions)}"
                f" conditions; give one tensor for each in ‹{name}›"
            )
    ends = (admit_condition(model, end, 1, size) for end in (first, last))
    on_the_way = tuple(
        between(a[0], b[0], steps, keep_length=keep_length)
        if place in vectors
        else a.expand(steps, *a.shape[1:])
        for place, (a, b) in enumerate(zip(*ends, strict=True))
    )
    return sample(
        model,
        steps,
        size,
        condition=on_the_way,
        order=order,
        temperature=temperature,
        guidance=guidance,
        generator=generator,
        common_noise=True,
        batch_size=batch_size,
        progress=progress,
    )
