"""Where the laws touch interfaces: conditions, data in memory, and the command line.

When one of these changes, it changes here.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import build, conditions
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextpixel import Preparation, Source, sample
from nextpixel.conditions.kinds import MapCondition
from nextpixel.data.splits import ImageData, Split
from nextpixel.layers.conditioning import ConditionBias, ConditionEncoder
from nextpixel.models.core import ImageModel

Given = Any
"""The condition of a batch, as `cases.conditions` gives it: one or several tensors, or None."""


def tensors_of(values: Given) -> tuple[Tensor, ...]:
    """All conditions of a batch."""
    if values is None:
        return ()
    return values if isinstance(values, tuple) else (values,)


def rows_of(values: Given, rows: Any) -> Given:
    """The conditions of some images of a batch."""
    if isinstance(values, tuple):
        return tuple(value[rows] for value in values)
    return None if values is None else values[rows]


@lru_cache
def decisive(name: str, n: int, shape: tuple[int, int]) -> tuple[ImageModel, Given]:
    """A case, and conditions of n images that decide its likeliest pictures.

    Images 0 and 1 have others than images 2 and 3, as batches of two show.
    """
    for seed in range(30):
        model = build(name, seed=seed)
        with torch.no_grad():
            for part in model.modules():
                if isinstance(part, ConditionBias):
                    for layer in (part.of_vector, part.of_maps):
                        if layer is not None:
                            layer.weight.mul_(8)
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.mul_(0.1)
        values = conditions(model, n, shape)
        x = sample(model, n, shape, condition=values, temperature=0.0)
        if not torch.equal(x[0], x[2]) and not torch.equal(x[0], x[1]):
            return model, values
    raise AssertionError(f"no condition of {name} matters")


def enlarged(condition: MapCondition, value: Tensor, height: int, width: int) -> Tensor:
    """What the layers see of a map (B, M, h, w), (B, features, height, width)."""
    torch.manual_seed(0)
    encoded = ConditionEncoder((condition,), 0).double()((value,), height, width)
    assert encoded.maps is not None
    return encoded.maps.detach()


def split_of_arrays(
    images: NDArray[Any] | Sequence[NDArray[Any]],
    labels: NDArray[Any] | None = None,
    vectors: NDArray[Any] | None = None,
    maps: NDArray[Any] | None = None,
) -> Split:
    return Split(
        images=images,
        labels=None if labels is None else labels.astype(np.int64),
        vectors=None if vectors is None else vectors.astype(np.float32),
        maps=maps,
    )


def data_of_splits(
    train: Split,
    valid: Split | None = None,
    *,
    levels: int,
    classes: int = 0,
    map_levels: int | None = None,
) -> ImageData:
    """A data set that was never a file."""
    first = train.images[0]
    whole = isinstance(train.images, np.ndarray)
    empty = split_of_arrays(np.zeros((0, *first.shape), np.uint8))
    return ImageData(
        source=Source("arrays"),
        levels=levels,
        channels=first.shape[0],
        shape=(first.shape[1], first.shape[2]) if whole else None,
        classes=tuple("abcdefgh"[:classes]),
        train=train,
        valid=empty if valid is None else valid,
        test=empty,
        map_levels=map_levels,
        preparation=Preparation(),
    )


def nextpixel(*words: object) -> str:
    """Runs a command in this process; returns what it prints."""
    from nextpixel.cli.app import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main([str(word) for word in words])
    return said.getvalue()


def drawn(out: Path, *words: object) -> NDArray[Any]:
    """Runs a command that writes pictures; returns their integers."""
    nextpixel(*words, "--out", out)
    return np.load(out)


def write_splits(path: Path, **arrays: NDArray[Any]) -> Path:
    """A file of arrays: train_images, train_labels, valid_images, and so on."""
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def asked_of(run: Path) -> dict[str, Any]:
    """What a run folder says was asked of it."""
    asked: dict[str, Any] = json.loads((run / "run.json").read_text())
    return asked


def cells(path: Path, height: int, width: int, *, columns: int, scale: int) -> NDArray[Any]:
    """The pictures of a grid with lines of one pixel between them, (n, C, height, width)."""
    with Image.open(path) as picture:
        grid = np.asarray(picture)
    grid = grid[..., None] if grid.ndim == 2 else grid
    down, across = height * scale + 1, width * scale + 1
    width_of_all = columns * across + 1  # names of rows lie to the right
    assert grid.shape[1] >= width_of_all and (grid.shape[0] - 1) % down == 0
    grid = grid[:, :width_of_all]
    found = []
    for top in range(1, grid.shape[0], down):
        for left in range(1, grid.shape[1], across):
            cell = grid[top : top + height * scale, left : left + width * scale]
            small = cell[::scale, ::scale]
            assert np.array_equal(small.repeat(scale, axis=0).repeat(scale, axis=1), cell)
            found.append(small.transpose(2, 0, 1))
    return np.stack(found)


@contextlib.contextmanager
def small_passes(rows: int, patch: Any) -> Iterator[None]:
    """Scores so few rows at once that totals are made of many passes."""
    with patch.context() as limited:
        for module in ("scoring", "plan"):
            limited.setattr(f"nextpixel.{module}.rows_per_pass", lambda *_: rows)
        yield


def recorder(model: ImageModel) -> list[tuple[Tensor, tuple[Tensor, ...], int]]:
    """What a model is called with in training from now on: images, conditions, torch's seed."""
    calls: list[tuple[Tensor, tuple[Tensor, ...], int]] = []

    def record(module: Any, given: tuple[Any, ...]) -> None:
        if module.training:
            values = tensors_of(given[1] if len(given) > 1 else None)
            calls.append((given[0].clone(), values, torch.initial_seed()))

    model.register_forward_pre_hook(record)
    return calls
