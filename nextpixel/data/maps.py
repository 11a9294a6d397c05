"""Maps of images: what they may hold, and how pictures of them are resized with their images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.folders import files_below
from nextpixel.data.image_files import read_image, read_indices
from nextpixel.data.pixels import Integers, resize, subsample
from nextpixel.data.scan import FEW
from nextpixel.data.splits import Split
from nextpixel.settings.preparation import Preparation

__all__ = ["checked_maps", "fraction", "map_levels", "pictured_maps", "scaled", "standardised"]

_LARGEST = 1e30


def checked_maps(
    maps: NDArray[Any], where: str, size: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Check maps, and arrange them as (N, M, h, w).

    Of axes 1 and 3, the channels are the one that leaves (h, w) a fraction of the images' size; if
    both do or neither does, the shorter one.
    """
    if maps.dtype == np.bool_:
        maps = maps.view(np.uint8)
    if maps.dtype.kind not in "uif" or maps.ndim not in (3, 4) or 0 in maps.shape[1:]:
        raise DataError(
            f"{where} hold {maps.dtype} of shape {maps.shape}, but (images, height, width) is"
            " expected"
        )
    if maps.dtype.kind == "i" and int(maps.min(initial=0)) < -1:
        raise DataError(
            f"{where} hold {int(maps.min())}; integers are 0 and above, or -1 throughout where"
            " unknown"
        )
    if maps.dtype.kind == "i" and maps.size:
        negative = (maps < 0).reshape(len(maps), -1)
        if (negative.any(axis=1) & ~negative.all(axis=1)).any():
            raise DataError(
                f"{where} hold -1 beside other values, but integers are 0 and above, or -1"
                " throughout where unknown; give 0 and above, or floats for signed numbers such as"
                " spins"
            )
    if maps.dtype.kind == "f":
        largest = float(np.fmax.reduce(np.abs(maps), axis=None, initial=0))
        if largest > _LARGEST:
            kind = "infinite numbers" if np.isinf(largest) else f"numbers as large as {largest:.3g}"
            raise DataError(
                f"{where} hold {kind}; give numbers up to {_LARGEST:g}, such as their logarithms,"
                " or NaN where nothing is known"
            )
    if maps.ndim == 3:
        return maps[:, None]
    first, last = (
        size is not None and fraction(size, given) is not None
        for given in (maps.shape[2:], maps.shape[1:3])
    )
    is_last = last if first != last else maps.shape[3] < maps.shape[1]
    return np.moveaxis(maps, 3, 1) if is_last else maps


def standardised(
    splits: dict[str, Split], preparation: Preparation
) -> tuple[dict[str, Split], Preparation]:
    """Splits whose maps of reals have mean 0 and deviation 1 in training, if that was asked for.

    Returns:
        The splits, and the preparation with the means and deviations, which is repeated as it is.
    """
    maps = splits["train"].maps
    scale = preparation.map_scale
    if not preparation.standardise:
        return splits, preparation
    if scale is None:
        if maps is None or maps.dtype.kind != "f" or not len(maps):
            raise DataError(
                "‹standardise=True› is for maps of real numbers, and there are none; leave it out:"
                " vectors are always standardised, and integers have levels"
            )
        numbers: list[float] = []
        for channel in range(maps.shape[1]):
            values = maps[:, channel].astype(np.float64)
            known = values[np.isfinite(values)]
            deviation = float(known.std()) if known.size and np.ptp(known) > 0 else 1.0
            numbers += [float(known.mean()) if known.size else 0.0, deviation]
        scale = tuple(numbers)
    done = {
        name: split if split.maps is None else replace(split, maps=scaled(split.maps, scale))
        for name, split in splits.items()
    }
    return done, replace(preparation, map_scale=scale)


def scaled(maps: NDArray[Any], scale: Sequence[float]) -> NDArray[np.float32]:
    """Maps (N, M, h, w) by the mean and deviation of each channel, one after another."""
    if 2 * maps.shape[1] != len(scale):
        raise DataError(
            f"the maps have {maps.shape[1]} channels, but those of the training {len(scale) // 2}"
        )
    numbers = np.array(scale).reshape(-1, 2, 1, 1)
    result: NDArray[np.float32] = ((maps - numbers[:, 0]) / numbers[:, 1]).astype(np.float32)
    return result


def fraction(size: tuple[int, int], smaller: tuple[int, ...]) -> int | None:
    """The integer k for which the second size is 1/k of the first, rounded up; None without one."""
    scale = -(-size[0] // smaller[0])
    return scale if tuple(-(-side // scale) for side in size) == smaller else None


def map_levels(
    maps: Sequence[NDArray[Any] | None], where: str, preparation: Preparation
) -> int | None:
    """How many levels the integer maps of all splits have; None for floats, or without maps.

    See `Preparation.map_levels`.

    Raises:
        DataError: If a value is above the levels that are given, or maps of integers are expected.
    """
    given = preparation.map_levels
    present = [values for values in maps if values is not None]
    floats = [values.dtype.kind == "f" for values in present]
    if any(floats) and not all(floats):
        raise DataError(
            f"the maps of {where} are floats in some splits and integers in others; make them the"
            " same"
        )
    if given is not None and any(floats):
        raise DataError(
            f"‹map_levels={given}› is for maps of integers, but those of {where} are floats"
        )
    if not present or any(floats):
        return None
    highest = max(int(values.max(initial=1)) for values in present)
    is_bytes = all(values.dtype == np.uint8 for values in present)
    if given is not None and highest >= max(2, given):
        raise DataError(
            f"the maps of {where} hold {highest}, which is not below ‹map_levels={given}›"
        )
    few = FEW if preparation.reading > 2 else 2
    return given or (256 if highest >= few and is_bytes else highest + 1)


def pictured_maps(split: Split, folder: Path) -> NDArray[Any]:
    """The pictures of a folder that have the names of a split's images, in one array."""
    if not split.names or not isinstance(split.images, np.ndarray):
        raise DataError(
            f"maps from the folder {folder} need a folder of images of one size; give ‹size›"
        )

    def stem(path: Path) -> str:
        return path.relative_to(folder).with_suffix("").as_posix()

    wanted = {Path(name).with_suffix("").as_posix() for name in split.names}
    found = {
        stem(path): path for path in files_below(folder, folder, lambda path: stem(path) in wanted)
    }
    size = split.images.shape[2], split.images.shape[3]
    maps: list[Integers] = []
    for name, own in zip(split.names, split.stored_sizes, strict=True):
        path = found.get(Path(name).with_suffix("").as_posix())
        if path is None:
            raise DataError(f"{folder} holds no map for {name}; call it the same")
        try:
            indices = read_indices(path)
            if indices is None:
                x = _as_image(read_image(path), own, size, resize)
            else:  # Bytes would count as 256 ordinal levels; wider integers as those that occur.
                x = _as_image(indices, own, size, subsample).astype(np.int16)
        except ImageError as error:
            raise DataError(str(error)) from error
        maps.append(x)
        if fraction(size, x.shape[1:]) is None or x.shape[1:] != maps[0].shape[1:]:
            sizes = (f"{height}x{width}" for height, width in (x.shape[1:], own, size, size))
            raise DataError(
                "{} is a map of {} pixels, but its image of {}, prepared {}; give maps of the"
                " images' size, or all of one fraction 1/2, 1/3 ... of {}".format(path, *sizes)
            )
        if x.dtype != maps[0].dtype or len(x) != len(maps[0]):
            raise DataError(
                f"{path} is a map of {_kind(x)}, but the first in {folder} is one of"
                f" {_kind(maps[0])}; convert them"
            )
    return np.stack(maps)


def _as_image(
    x: Integers,
    own: tuple[int, int],
    size: tuple[int, int],
    reduce: Callable[[Integers, tuple[int, int]], Integers],
) -> Integers:
    """Crop and reduce a map as its image was, unless it has another shape or fewer pixels."""
    height, width = x.shape[1:]
    same = fraction(own, (height, width)) is not None or fraction((height, width), own) is not None
    return reduce(x, size) if same and height >= size[0] and width >= size[1] else x


def _kind(x: Integers) -> str:
    return "numbered colours" if x.dtype == np.int16 else f"{len(x)} channel{'s' * (len(x) > 1)}"
