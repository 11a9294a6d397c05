"""From one image's condition to another's in small steps, with the same random numbers at every
step.

Conditional Image Generation with PixelCNN Decoders, section 3.3 and figure 5: linear interpolation
between the embeddings of two portraits.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nextpixel.conditions import Values, VectorCondition, parts_of, tuple_of
from nextpixel.models.core import ImageModel
from nextpixel.sampling import sample

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
        keep_length: whether to bring each to the length that it would have on the way from one
            end's to the other's: the straight line between two points of a sphere leaves the
            sphere, and a model was trained on it alone.

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
    first: Values,
    last: Values,
    shape: tuple[int, int],
    *,
    steps: int = 8,
    keep_length: bool = False,
    temperature: float = 1.0,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "steps C H W"]:
    """Draws an image at each step between two conditions; a row of pictures that change little by
    little.

    One set of random numbers decides all of them, so pictures differ only by their conditions.

    Args:
        model: a model conditioned on vectors: embeddings, attributes, the codes of an auto-encoder;
            or on more.
        first, last: the conditions of one image at the ends: vectors (size,), or tuples of all
            conditions, of which only the vectors change.
        shape: (H, W) of the images.
        steps, keep_length: see `between`.
        temperature, guidance, generator: as for `sample`.

    Raises:
        ValueError: the model is conditioned on no vector, or the conditions do not fit.
    """
    parts = parts_of(model.condition)
    if not any(isinstance(part, VectorCondition) for part in parts):
        raise ValueError("interpolation is between vectors, but this model's condition has none")
    on_the_way = tuple(
        (
            between(a.to(model.device), b.to(model.device), steps, keep_length=keep_length)
            if isinstance(part, VectorCondition)
            else a[None].expand(steps, *a.shape)
        )
        for part, a, b in zip(parts, tuple_of(first), tuple_of(last), strict=True)
    )
    return sample(
        model,
        steps,
        shape,
        condition=on_the_way if isinstance(model.condition, tuple) else on_the_way[0],
        temperature=temperature,
        guidance=guidance,
        generator=generator,
        common_noise=True,
    )
