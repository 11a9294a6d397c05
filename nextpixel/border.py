"""The border: what a person gave becomes what a model takes, or is refused in one sentence.

Every public function begins here, and nothing inside repeats it. Images are integers 0 … levels-1
of any width in a tensor, an array, lists of numbers, or pictures of Pillow:

- a batch (B, C, H, W), also as a list of images of one size;
- one image (C, H, W), or (H, W) for a model of one channel. It is a batch of one, and results lack
  the batch dimension, as the image does: `score` gives one number, `complete` (draws, C, H, W).

Values of conditions are given likewise: numbers, lists, arrays or tensors, for each image or one
for all. What is refused: reals, booleans, other shapes, and values that the model does not know.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from nextpixel.arguments import instance_of, shown, whole_number
from nextpixel.conditions.kinds import Condition
from nextpixel.conditions.values import Values, broadcast
from nextpixel.errors import UsageError
from nextpixel.layers.integers import check_images, check_integers, check_range, plain_integers
from nextpixel.models import wrapping
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import check_filled

__all__ = [
    "Admitted",
    "ConditionGiven",
    "Images",
    "Mask",
    "admit",
    "admit_condition",
    "admit_images",
    "admit_known",
    "batches_of",
    "checked_generator",
    "checked_rows",
    "checked_shape",
    "model_of",
    "shares_memory",
    "tensor_of",
    "watched",
]

Images: TypeAlias = Tensor | NDArray[Any] | Image.Image | Sequence[Any]
"""Images of integers, in any of the forms that the module describes."""

ConditionGiven: TypeAlias = Tensor | NDArray[Any] | Image.Image | Sequence[Any] | int | None
"""Values of a model's condition; a tuple for several conditions, None for none."""

Mask: TypeAlias = Tensor | NDArray[Any] | Sequence[Any]
"""Booleans."""


class Admitted(NamedTuple):
    """Images that a model takes, with the values of its conditions.

    Args:
        model: the model.
        x: integers (B, C, H, W) in a type that torch computes with, where they were given.
        values: a value of each condition for each image, on the model's device.
        single: whether one image without a batch dimension was given.
    """

    model: ImageModel
    x: Tensor
    values: Values
    single: bool

    def result(self, batched: Tensor) -> Tensor:
        """A result for each image, without the batch dimension if the image was given so."""
        return batched[0] if self.single else batched


def admit(model: Any, x: Any, condition: Any = None) -> Admitted:
    """Images and conditions as a model takes them. x keeps its memory and its device.

    Raises:
        TypeError: x does not hold integers, or is no array.
        UsageError: a shape does not fit, or the model does not know a value.
    """
    model, x, single = admit_images(model, x)
    values = admit_condition(model, condition, len(x), (x.shape[2], x.shape[3]))
    check_range(x, model.levels)
    return Admitted(model, x, values, single)


def admit_images(model: Any, x: Any) -> tuple[ImageModel, Tensor, bool]:
    """The model, and images of its shape, whatever integers they hold; see `Admitted`."""
    model = model_of(model)
    if _is_several(x):
        x = _stacked("x", [_coloured(tensor_of("x", one), model) for one in x])
    else:
        x = _coloured(tensor_of("x", x), model)
    check_integers(x, model.levels)
    single = x.ndim == 3 and len(x) == model.channels
    x = x[None] if single else x
    check_images(x, model.channels, model.levels)
    return model, plain_integers(x), single


def admit_known(model: Any, x: Any, known: Any) -> tuple[ImageModel, Tensor, Tensor, bool]:
    """As `admit_images`, with a mask of what is known and must be in range; on the model's device.

    Raises:
        TypeError: x does not hold integers, or known no booleans.
        UsageError: a shape does not fit, or the model does not know a value that is known.
    """
    model, x, single = admit_images(model, x)
    known = _mask(known, x.shape).to(model.device)
    x = x.to(model.device)
    check_range(x[known], model.levels)
    return model, x.long(), known, single


def batches_of(images: Any, condition: Any = None) -> Iterator[tuple[Any, Any]]:
    """Batches and their conditions, not yet admitted, of one batch or of an iterable of batches.

    A condition beside an iterable belongs to every batch; else the iterable may have pairs. A
    DataLoader of a TensorDataset gives lists of one or two tensors.

    Raises:
        TypeError: it is neither.
    """
    listed = isinstance(images, list | tuple) and not (images and all(map(_is_batch, images)))
    if listed or isinstance(images, Tensor | np.ndarray | Image.Image):
        yield images, condition
        return
    if not isinstance(images, Iterable):
        raise TypeError(
            f"images has type {type(images).__name__}; give a batch of images (B, C, H, W), or an"
            " iterable of batches"
        )
    for batch in images:
        if isinstance(batch, list) and len(batch) < 3 and _is_batch(batch):
            batch = batch[0] if len(batch) == 1 else tuple(batch)
        pair = isinstance(batch, tuple) and len(batch) == 2
        yield batch if pair and condition is None else (batch, condition)


def _is_batch(value: Any) -> bool:
    """Whether it is an array (B, C, H, W), alone or first in a list or pair."""
    first = value[0] if isinstance(value, list | tuple) and value else value
    return isinstance(first, Tensor | np.ndarray) and first.ndim == 4


def _coloured(x: Tensor, model: ImageModel) -> Tensor:
    """(H, W) for one colour as (1, H, W)."""
    return x[None] if x.ndim == 2 and model.channels == 1 else x


def admit_condition(model: ImageModel, condition: Any, batch: int, size: tuple[int, int]) -> Values:
    """A value of each condition for each image of a batch of a size (H, W), on the device.

    Raises:
        TypeError: it is no array, or for several conditions no tuple.
        UsageError: it does not fit the model, or a value is out of range.
    """
    given = condition if isinstance(condition, tuple) else () if condition is None else (condition,)
    one = len(model.conditions) == 1
    if one and len(given) > 1 and not any(isinstance(value, Tensor) for value in given):
        given = (condition,)  # a tuple of numbers, one for each image
    if len(given) == len(model.conditions):
        given = tuple(map(_value_of, model.conditions, given))
    return broadcast(model.conditions, given, batch, size, model.device)


def model_of(model: Any) -> ImageModel:
    """The distribution of images that a caller means."""
    advice = "nextpixel.load reads one, GatedPixelCNN(…) makes one"
    model = wrapping.model_of(instance_of("model", model, nn.Module, advice))
    check_filled(model)
    return model  # type: ignore[no-any-return]


def tensor_of(name: str, value: Any) -> Tensor:
    """The numbers of a tensor, an array, a picture or lists of them, as a tensor.

    Tensors, and arrays that torch can share, keep their memory.

    Raises:
        TypeError: it holds no numbers.
        UsageError: lists are ragged or empty, values are masked, or a tensor is not dense or has
            no values.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta:
            why = "is on the meta device" if value.is_meta else f"has layout {value.layout}"
            raise UsageError(f"‹{name}› {why}; give a tensor that holds all of its values")
        return value
    if _is_several(value):
        return _stacked(name, [tensor_of(name, part) for part in value])
    if np.ma.is_masked(value):
        raise UsageError(f"‹{name}› has masked values; fill them")
    try:
        array = _array(value)
    except (ValueError, TypeError):
        raise UsageError(f"‹{name}› holds lists of several lengths; give an array") from None
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{name} has type {type(value).__name__}; give a tensor or an array of numbers"
        )
    if isinstance(value, list | tuple) and not array.size:
        raise UsageError(f"‹{name}› is an empty list, of no shape; give an array")
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "u" and kind.itemsize > 1:
        kind = np.dtype(np.int32 if kind.itemsize == 2 else np.int64)
    kind = np.dtype(np.float64) if kind == np.longdouble else kind
    shared = array.dtype == kind and array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if shared else array.astype(kind, order="C"))


def _is_several(value: Any) -> bool:
    """Whether it is a list of arrays rather than of numbers."""
    return isinstance(value, list | tuple) and any(
        isinstance(part, Tensor | np.ndarray | Image.Image) for part in value
    )


def _stacked(name: str, parts: list[Tensor]) -> Tensor:
    if len(shapes := {tuple(part.shape): None for part in parts}) > 1:
        first, other, *_ = shapes
        raise UsageError(
            f"‹{name}› holds arrays of the shapes {first} and {other}; give those of one shape at a"
            " time"
        )
    return torch.stack([part.to(parts[0].device) for part in parts])


def shares_memory(value: Any, x: Tensor) -> bool:
    """Whether what is written into a tensor or an array is seen in the tensor x made of it."""
    if isinstance(value, Tensor):
        return value.data_ptr() == x.data_ptr()
    return isinstance(value, np.ndarray) and np.may_share_memory(value, x.numpy())


def _array(value: Any) -> NDArray[Any]:
    """An array of anything, pictures with their colours first."""
    if isinstance(value, Image.Image):
        if value.mode not in ("1", "L", "LA", "I", "I;16", "F", "RGB", "RGBA"):
            value = value.convert("RGB")
        pixels = np.asarray(value)
        pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
        return pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    return np.asarray(value)


def _mask(known: Any, shape: torch.Size) -> Tensor:
    """Booleans of the shape of images, from any that broadcast to it."""
    known = tensor_of("known", known)
    if known.dtype != torch.bool:
        raise TypeError(
            f"known has type {known.dtype}; give booleans, True where a sub-pixel is known"
        )
    try:
        everywhere: Tensor = known.expand(shape)
    except RuntimeError:
        shapes = f"{tuple(known.shape)} does not broadcast to that of x, {tuple(shape)}"
        forms = "(H, W), (C, H, W), (C, 1, 1) or (B, 1, H, W)"
        raise UsageError(f"the shape of ‹known›, {shapes}; give for example {forms}") from None
    return everywhere


def _value_of(part: Condition, given: Any) -> Tensor:
    if given is None:
        unknown = "NaN" if part.count is None else "-1"
        entries = " throughout" * (part.count is None or part.per_pixel)
        raise UsageError(
            f"‹condition› has None for its {part.noun}; an unknown {part.noun} is"
            f" {unknown}{entries}"
        )
    value = plain_integers(tensor_of("condition", given))
    grey = part.per_pixel and value.ndim == 2 and part.shape(1, (1, 1))[1] == 1
    return value[None] if grey else value


def checked_rows(given: Any, height: int) -> Tensor:
    """Which rows to visit, (H,), on the CPU; None is all."""
    if given is None:
        return torch.ones(height, dtype=torch.bool, device="cpu")
    rows = tensor_of("rows", given)
    if rows.dtype != torch.bool or rows.shape != (height,):
        raise UsageError(
            f"‹rows› has shape {tuple(rows.shape)} and type {rows.dtype}; give {height} booleans,"
            " True for each row to visit"
        )
    return rows.cpu()


def checked_shape(shape: Any) -> tuple[int, int]:
    """The height and width of images."""
    try:
        height, width = (whole_number("shape", side, 1) for side in shape)
    except (TypeError, ValueError):
        raise UsageError(
            f"‹shape={shown(shape)}› must be (height, width) of at least (1, 1), such as (28, 28)"
        ) from None
    return height, width


def checked_generator(generator: Any) -> torch.Generator | None:
    """A source of randomness, or None."""
    if generator is not None:
        advice = "give torch.Generator().manual_seed(0)"
        instance_of("generator", generator, torch.Generator, advice)
    found: torch.Generator | None = generator
    return found


Step = TypeVar("Step")


def watched(progress: Any, steps: Iterable[Step], length: int) -> Iterable[Step]:
    """The steps, wrapped by what shows them: progress(steps, length), or a tqdm.

    Raises:
        UsageError: it cannot be called so, or gives nothing to iterate over.
    """
    if progress is None:
        return steps
    if not callable(progress):
        raise UsageError(f"‹progress› must be a function such as tqdm.tqdm, not {shown(progress)}")
    shown_steps = (
        progress(steps, total=length) if _takes_total(progress) else progress(steps, length)
    )
    if not isinstance(shown_steps, Iterable):
        raise UsageError(
            "‹progress› must return the steps that it is given, to iterate over, not"
            f" {shown(shown_steps)}"
        )
    return shown_steps


def _takes_total(progress: Callable[..., Any]) -> bool:
    """Whether the length is the keyword total, as tqdm's is, whose second argument is a text."""
    try:
        parameters = inspect.signature(progress).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(one.name == "total" or one.kind is one.VAR_KEYWORD for one in parameters)
