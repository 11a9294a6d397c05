"""Images drawn from a trained model: samples, and what all drawings share.

One call, from the name of a model to an array of integers. `nextpixel.sampling` has the functions
on tensors that it is made of.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel import sampling
from nextpixel.arguments import record_of
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.conditions.values import Values
from nextpixel.data.image_output import write_images
from nextpixel.data.splits import Split
from nextpixel.data.values import is_mapped, stored_values
from nextpixel.errors import UsageError
from nextpixel.inference.conditions import class_numbers, conditions_of_request, divided
from nextpixel.inference.selection import Selection
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.core import ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.orders import named_order
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import DataRequest, SampleConfig, SampleRequest
from nextpixel.training.memory import in_memory

__all__ = [
    "Drawn",
    "beside_images",
    "Working",
    "class_names",
    "classes_given",
    "draw_images",
    "enough_memory",
    "drawn_images",
    "images_of",
]

_MOST_ROWS = 1024
_MOST_PIXELS = 2**20
"""What a checkpoint may ask for on its own: the number of classes, and of pixels of an image."""

Reading = Callable[[int, int], None]
Working = Callable[[int], None]
"""Is told how many sub-pixels will be drawn."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Images that a model drew.

    Attributes:
        images: integers 0 … levels-1: (n, C, H, W) for samples, (n, draws, C, H, W) otherwise.
        levels: the number of values of a sub-pixel.
        grid: the images to show, (m, C, H, W), row by row: the draws, and what they belong to.
        columns: the number of images in a row of the grid; None for a square grid.
        rows: the number of images in each row of the grid, if rows differ.
        row_names: what is written beside the rows of the grid, such as their classes; fewer names
            are those of the first rows.
        names: the class of each image, or ().
        source: the name of the source of the images that they belong to; "" for samples.
        available: how many images of the source could be taken; 0 for samples.
        given: what was given, such as "the class"; "" for nothing.
        preparation: how stored values became levels; None if levels are the stored values.
        effective, log_evidence: of completions that particles informed, (n, draws): see
            `particles.Completion`; None of others, and the evidence also at another temperature or
            guidance than 1.
        orders: in which completions of each image were drawn by a model of several, see `Order`.
    """

    images: NDArray[np.integer[Any]]
    levels: int
    grid: NDArray[np.integer[Any]]
    columns: int | None
    rows: tuple[int, ...] = ()
    row_names: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    source: str = ""
    available: int = 0
    given: str = ""
    preparation: Preparation | None = None
    effective: NDArray[np.float64] | None = None
    log_evidence: NDArray[np.float64] | None = None
    orders: tuple[str, ...] = ()

    @property
    def values(self) -> NDArray[Any]:
        """The images in the values of the training data, see `nextpixel.data.values`."""
        how = self.preparation
        if how is None or (how.levels or 0) + (how.missing is not None) != self.levels:
            return self.images.astype(np.uint8 if self.levels <= 256 else np.uint16)
        return stored_values(self.images, how)

    @property
    def shown_otherwise(self) -> str:
        """What pictures show in the place of stored values, in words; "" if they show these."""
        how = self.preparation
        mapped = how is not None and (how.one_hot or is_mapped(how))
        if how is None or not mapped or (how.levels, how.binarise) != (how.from_levels, None):
            return ""
        levels = np.arange(self.levels).reshape(-1, 1, 1, 1)
        shown = np.rint(levels * 255 / (self.levels - 1))
        if np.array_equal(stored_values(levels, how), shown):
            return ""
        return (
            f"the files show the {self.levels} levels as brightness from 0 to 255, not the values"
            " of the training data; ‹out› with the ending .npy saves these"
        )

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of an image."""
        return self.images.shape[-2], self.images.shape[-1]

    def save(self, path: str | Path, *, enlarge: int = 1) -> None:
        """Write the grid to a .png, the values to an .npy, or each draw to a file in a folder.

        Args:
            path: the file or folder.
            enlarge: shows each pixel in a .png as a square with a side of this many pixels.
        """
        kinds = {".png": self.grid, ".npy": self.values}
        write_images(
            path,
            kinds.get(Path(path).suffix, self.images),
            self.levels,
            columns=self.columns,
            rows=self.rows,
            row_names=self.row_names,
            enlarge=enlarge,
            names=self.names,
        )


def draw_images(
    model: str | Path | Trained,
    request: SampleRequest = SampleRequest(),  # noqa: B008  # It is frozen.
    config: SampleConfig = SampleConfig(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008
    device: str | torch.device = "auto",
    reading: Reading | None = None,
    progress: sampling.Progress | None = None,
    working: Working | None = None,
) -> Drawn:
    """Draw images from a trained model.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        request: how many images, of which size, and given what.
        config: how they are drawn.
        data: the images whose conditions are taken where `request` names none; by default those of
            the training data. `data.vectors` may be an .npy file of vectors without images.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many images are read, and of how many.
        progress: wraps the iteration over sites, see `nextpixel.sample`.
        working: called with the number of sub-pixels before any is drawn.

    Raises:
        UsageError: something does not fit the model.

    Example:
        >>> request = SampleRequest(n=2, class_="Trouser", size=(4, 3))
        >>> draw_images("fashion-mnist", request, device="cpu").images.shape
        (2, 1, 4, 3)
    """
    request = record_of("request", request, SampleRequest)
    config = record_of("config", config, SampleConfig)
    trained = open_trained(model, device=device)
    network, n, class_ = trained.distribution, request.n or 1, request.class_
    shape = request.shape or trained.card.shape
    if shape is None:
        raise UsageError(
            "the model was trained on images of several sizes; give ‹size›, such as 32 or 48x64"
        )
    if request.shape is None and math.prod(shape) > _MOST_PIXELS:
        raise UsageError(
            f"the model says that its images have {shape[0]}×{shape[1]} pixels; give ‹size› to draw"
            " images as large as that, or smaller ones"
        )
    trained.check_guidance(config.guidance)
    by_class = bool(of_kind(network.conditions, ClassCondition))
    if class_ is None and by_class and (len(network.conditions) == 1 or request.per_class):
        class_ = "all"
    if request.per_class is not None:
        if not by_class:
            raise UsageError(
                f"‹per_class={request.per_class}› is for models conditioned on classes, and this"
                f" one is not; give ‹n={request.per_class}›"
            )
        count = len(class_numbers(trained, class_ or "all"))
        if request.class_ is None and count > _MOST_ROWS:
            # How many classes there are is up to whoever made the checkpoint.
            raise UsageError(
                f"the model has {count:,} classes, so that ‹per_class={request.per_class}› is"
                f" {request.per_class * count:,} images; choose one with ‹class_›, or draw them all"
                " with ‹class_=all›"
            )
        n = request.per_class * count
    labels = divided(n, class_numbers(trained, class_)) if class_ and by_class else []
    condition = conditions_of_request(
        trained,
        n,
        shape,
        class_=class_,
        caption=request.caption,
        data=data,
        seed=config.seed,
        progress=reading,
    )
    if working is not None:
        working(n * network.channels * math.prod(shape))
    x = drawn_images(network, n, shape, condition, config, progress).cpu().numpy()
    names = class_names(trained, labels)
    rows = [len(list(same)) for _, same in groupby(labels)] if request.columns is None else []
    if len(rows) < 2:
        rows, row_names = [], names[:1]
    else:
        row_names = tuple(name for name, _ in groupby(names))
    return Drawn(
        images=x,
        levels=network.levels,
        grid=x,
        columns=request.columns,
        rows=tuple(rows),
        row_names=row_names,
        names=names,
        given=trained.given,
        preparation=trained.card.preparation,
    )


def class_names(trained: Trained, labels: Iterable[int]) -> tuple[str, ...]:
    """What classes are called; one that is unknown has the name ""."""
    known = dict(enumerate(trained.card.classes))
    return tuple("" if k < 0 else known.get(k, str(k)) for k in labels)


def drawn_images(
    network: ImageModel,
    n: int,
    shape: tuple[int, int],
    condition: Values,
    config: SampleConfig,
    progress: sampling.Progress | None,
) -> torch.Tensor:
    """`nextpixel.sample` with a configuration."""
    with enough_memory(n, shape, config):
        return sampling.sample(
            network,
            n,
            shape,
            condition=condition,
            order=named_order(config.order),
            temperature=config.temperature,
            guidance=config.guidance,
            generator=torch.Generator().manual_seed(config.seed),
            batch_size=config.batch_size,
            progress=progress,
        )


def enough_memory(
    n: int, shape: tuple[int, int], config: SampleConfig
) -> AbstractContextManager[None]:
    """A block that ends in a sentence if so many images cannot be drawn at once."""
    at_once = min(n, config.batch_size)
    fact = f"{at_once} images of {shape[0]}×{shape[1]} at once do not fit into memory"
    if at_once == 1:
        return in_memory(
            f"an image of {shape[0]}×{shape[1]} does not fit into memory; use a smaller one"
        )
    return in_memory(
        f"{fact}; draw fewer at once, which gives the same images:"
        f" ‹batch_size={max(1, at_once // 4)}›"
    )


def beside_images(
    trained: Trained,
    chosen: Selection,
    pieces: Sequence[NDArray[np.integer[Any]]],
    drawn: NDArray[np.integer[Any]],
    labels: Sequence[int] = (),
) -> Drawn:
    """Draws (n, draws, C, H, W), and rows of the grid that begin with other images of that form.

    Args:
        labels: the classes that were given, which are written beside the rows.
    """
    rows = np.concatenate([*pieces, drawn], axis=1)
    names = class_names(trained, labels)
    return Drawn(
        images=drawn,
        levels=trained.model.levels,
        grid=rows.reshape(-1, *rows.shape[2:]),
        columns=rows.shape[1],
        row_names=names,
        names=names,
        source=chosen.source,
        available=len(chosen.split),
        given=trained.given or "its code",
        preparation=trained.card.preparation,
    )


def classes_given(model: Trainable, part: Split, rows: NDArray[np.int64]) -> list[int]:
    """The classes that a model is given of some images; [] if it is given none."""
    if part.labels is None or not of_kind(model.conditions, ClassCondition):
        return []
    labels: list[int] = part.labels[rows].tolist()
    return labels


def images_of(part: Split, rows: NDArray[np.int64], chosen: Selection) -> NDArray[np.int64]:
    """Some images, which must have one size."""
    if len(np.unique(part.sizes[rows], axis=0)) > 1:
        raise UsageError(
            f"images {', '.join(map(str, rows[:8]))}{' …' * (len(rows) > 8)} of {chosen.source}"
            " differ in size; choose one at a time, such as ‹n=1›, or images of one size"
        )
    return part.batch(rows).astype(np.int64)
