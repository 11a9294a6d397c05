"""What the principal components of normal images leave of an image.

A model judges each sub-pixel given those before it, so that an image may be likely step by step and
still be of another kind: digits among clothes. What is left of an image after its projection onto
the directions in which normal images vary says so. This is the classical comparison of principal
components (Jackson and Mudholkar, *Control Procedures for Residuals Associated With Principal
Component Analysis*, 1979); the model takes no part in it, except that it says what images are.

Images are reduced to at most 32×32 pixels by averaging, which makes images of all sizes comparable.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from nextpixel.arguments import instance_of, path_of
from nextpixel.border import ConditionGiven, Images, admit_images, batches_of, model_of
from nextpixel.errors import UsageError
from nextpixel.files.fields import CheckpointError
from nextpixel.files.tensors import read_tensors, write_tensors
from nextpixel.layers.integers import check_range
from nextpixel.models.core import ImageModel

__all__ = [
    "ReducedImages",
    "PrincipalComponents",
    "fit_components",
    "load_components",
    "save_components",
]

_SIDE = 32
"""Pixels to which a height or width is reduced."""
_SHARE = 0.75
"""The share of the variance that the components hold."""
_MOST_IMAGES, _MOST_COMPONENTS = 512, 256
_AT_ONCE = 2**22
"""Sub-pixels that are reduced at once, unless one image has more."""
_ROUNDING = 1e-9
"""Of the levels: what is smaller is rounding, and counts as nothing."""
_TENSORS = "mean", "components"


@dataclass(frozen=True, kw_only=True, eq=False)
class PrincipalComponents:
    """The principal components of normal images.

    Attributes:
        mean: of the reduced images, in levels.
        components: K orthonormal directions, those of the greatest variance, at most 256, which
            hold three quarters of it if so many do.
        levels: how many values a sub-pixel has.
        images: how many it was fitted on.
    """

    mean: Float[Tensor, "C h w"]
    components: Float[Tensor, "K C h w"]
    levels: int
    images: int

    def residual(self, model: nn.Module, x: Images) -> Float[Tensor, " *B"]:
        """The root mean square, in levels, of what the components leave of each reduced image.

        Args:
            model: any model of such images.
            x: images as for `bits_per_dim`, of any size.

        Returns:
            float64, on the CPU.

        Raises:
            UsageError: x is no images of the model, or this was fitted for other channels or
                levels.
        """
        known, images, single = _admitted(model, x)
        if (known.channels, known.levels) != (len(self.mean), self.levels):
            raise UsageError(
                f"these principal components are of images of {len(self.mean)} channels and"
                f" {self.levels} levels, not of {known.channels} and {known.levels}; fit them again"
                " with fit_components"
            )
        axes, found = self.components.flatten(1), [torch.zeros(0).double()]
        for some in torch.split(images, max(1, _AT_ONCE // images.shape[1:].numel())):
            rest = (_reduced(some, self.mean.shape[1:]) - self.mean).flatten(1)
            rest = rest - rest @ axes.T @ axes
            found.append(rest.square().mean(dim=1).sqrt())
        error = torch.cat(found)
        error = error.where(error > _ROUNDING * self.levels, 0)
        return error[0] if single else error


class ReducedImages:
    """Reduced images of a stream of unknown length: evenly spread ones, in bounded memory.

    Args:
        levels: of the images.
    """

    def __init__(self, levels: int) -> None:
        self._levels = levels
        self._kept: list[Tensor] = []
        self._seen, self._step = 0, 1

    def add(self, x: Tensor) -> None:
        """Images (B, C, H, W); the largest decide the size that all are brought to."""
        size = torch.Size(min(side, _SIDE) for side in x.shape[2:])
        for image in x:
            if self._seen % self._step == 0:
                self._kept.append(_reduced(image[None], size)[0])
            self._seen += 1
            if len(self._kept) == 2 * _MOST_IMAGES:
                self._kept, self._step = self._kept[::2], 2 * self._step

    def fitted(self) -> PrincipalComponents:
        """The mean and the components of the images so far.

        Raises:
            UsageError: there are fewer than two.
        """
        if self._seen < 2:
            raise UsageError(
                f"‹images› has {self._seen} images; give at least two, better some hundreds"
            )
        height, width = (max(image.shape[axis] for image in self._kept) for axis in (1, 2))
        x = torch.cat([_reduced(image[None], torch.Size((height, width))) for image in self._kept])
        mean = x.mean(dim=0)
        _, deviations, axes = torch.linalg.svd((x - mean).flatten(1), full_matrices=False)
        held = deviations.square().cumsum(0) / deviations.square().sum().clamp(min=1e-300)
        # A direction in which images hardly differ is one of rounding.
        varied = int((deviations > _ROUNDING * self._levels * len(x) ** 0.5).sum())
        count = min(int((held < _SHARE).sum()) + 1, varied, _MOST_COMPONENTS)
        return PrincipalComponents(
            mean=mean,
            components=axes[:count].reshape(count, *mean.shape).contiguous(),
            levels=self._levels,
            images=self._seen,
        )


def fit_components(
    model: nn.Module, images: Images | Iterable[Images | tuple[Images, ConditionGiven]]
) -> PrincipalComponents:
    """The principal components of normal images, in one pass over them and in bounded memory.

    The components are those of 512 to 1,024 of the images, evenly spread, or of all if there are
    fewer.

    Args:
        model: any model of such images.
        images: normal images as for `bits_per_dim`, or an iterable of batches of them, of any
            sizes; as pairs with conditions, which are not used.

    Raises:
        UsageError: there are fewer than two images, or the model does not take one of them.

    Example:
        >>> import torch
        >>> from nextpixel import PixelCNN, fit_components
        >>> model = PixelCNN(levels=8, features=8, layers=1)
        >>> normal = torch.arange(8).repeat_interleave(5).view(-1, 1, 1, 1).expand(-1, 1, 6, 6)
        >>> fitted = fit_components(model, normal)   # flat images
        >>> checks = torch.arange(36).view(1, 1, 6, 6) % 2 * 7
        >>> fitted.residual(model, torch.cat([normal[:1], checks])).round(decimals=3).tolist()
        [0.0, 3.5]
    """
    kept = ReducedImages(model_of(model).levels)
    for batch, _ in batches_of(images):
        kept.add(_admitted(model, batch)[1])
    return kept.fitted()


def save_components(components: PrincipalComponents, path: str | Path) -> None:
    """Writes it to a safetensors file, with digests: arrays and plain numbers, never code."""
    instance_of("components", components, PrincipalComponents, "fit_components makes one")
    tensors = {name: getattr(components, name).contiguous() for name in _TENSORS}
    numbers = {"levels": components.levels, "images": components.images}
    write_tensors(path_of("path", path), tensors, {"components": numbers})


def load_components(path: str | Path) -> PrincipalComponents:
    """Reads what `save_components` wrote.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    tensors, header = read_tensors(path_of("path", path))
    numbers = header.metadata.get("components")
    if not isinstance(numbers, dict) or set(tensors) != {*_TENSORS}:
        raise CheckpointError(f"{path} is a file of nextpixel, but no principal components")
    mean, components = (tensors[name] for name in _TENSORS)
    whole = {type(numbers.get(name)) for name in ("levels", "images")} == {int}
    if not whole or mean.ndim != 3 or components.shape[1:] != mean.shape:
        raise CheckpointError(f"{path} is damaged: its numbers or shapes do not fit")
    if {mean.dtype, components.dtype} != {torch.float64}:
        raise CheckpointError(f"{path} is damaged: a tensor has another type")
    axes = components.flatten(1)
    fits = 0 < mean.numel() >= len(axes) and bool(mean.isfinite().all())
    if not fits or not torch.allclose(axes @ axes.T, torch.eye(len(axes)).double(), atol=1e-6):
        raise CheckpointError(f"{path} is damaged: its numbers are no principal components")
    return PrincipalComponents(
        mean=mean, components=components, levels=numbers["levels"], images=numbers["images"]
    )


def _admitted(model: nn.Module, x: Images) -> tuple[ImageModel, Tensor, bool]:
    """As `admit_images`, with values that the model knows; no condition takes part."""
    known, images, single = admit_images(model, x)
    check_range(images, known.levels)
    return known, images, single


def _reduced(x: Tensor, size: torch.Size) -> Tensor:
    """Means over the area of each pixel of a reduced image, in levels, (B, C, h, w), float64."""
    return functional.interpolate(x.cpu().double(), size=tuple(size), mode="area")
