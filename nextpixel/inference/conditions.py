"""The values of all conditions of a model, as a user names them, or as they come with images."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nextpixel.conditions.kinds import (
    ClassCondition,
    Condition,
    MapCondition,
    VectorCondition,
    of_kind,
)
from nextpixel.conditions.values import Values
from nextpixel.data.annotation_files import checked_vectors, read_npy
from nextpixel.data.annotations import BagOfWords, encode_captions
from nextpixel.data.folders import require_file
from nextpixel.data.maps import checked_maps, scaled
from nextpixel.data.text_encoders import import_encoder
from nextpixel.errors import UsageError
from nextpixel.inference.selection import data_of
from nextpixel.inference.trained import Trained
from nextpixel.settings.requests import DataRequest
from nextpixel.training.batches import conditioned, tensors

__all__ = ["class_numbers", "conditions_of_request", "divided"]


def conditions_of_request(
    trained: Trained,
    n: int,
    size: tuple[int, int],
    *,
    class_: str | None = None,
    caption: str | None = None,
    data: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Values:
    """The values of all conditions of a model for n images.

    What is not named is taken from the first images of a split. Codes of a variational
    auto-encoder are drawn from its prior, unless `data` names images.

    Args:
        trained: the model.
        n: the number of images.
        size: height and width of the images.
        class_: the name or number of a class, "all" to divide the images evenly among them, or
            "none"; for a model of several labels their names, divided by ";".
        caption: a text for all images.
        data: `data.vectors` may be an .npy file of one or several vectors, and `data.maps` one of
            maps; the rest says which images give the other conditions.
        seed: of codes from the prior.
        progress: called with how many images are read, and of how many.

    Raises:
        UsageError: the model has no such condition, or the value does not fit.
    """
    model, chosen = trained.distribution, dict[str, Tensor]()
    names = trained.card.preparation and trained.card.preparation.attributes
    if class_ is not None and names and not of_kind(model.conditions, ClassCondition):
        chosen[VectorCondition.annotation] = _indicators(class_, names).expand(n, -1)
    elif class_ is not None:
        labels = divided(n, class_numbers(trained, class_))
        chosen[ClassCondition.annotation] = torch.tensor(labels)
    if caption is not None or _stands_alone(data.vectors, data):
        chosen[VectorCondition.annotation] = _vectors(trained, n, caption, data)
        data = replace(data, vectors=None)
    if _stands_alone(data.maps, data) and data.data is None:
        chosen[MapCondition.annotation] = _maps(trained, n, size, data)
        data = replace(data, maps=None)
    if getattr(model, "variational", False) and data.data is None and not chosen:
        width = next(iter(of_kind(model.conditions, VectorCondition).values())).size
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(n, width, generator=generator, dtype=torch.float32),)
    missing = tuple(part for part in model.conditions if part.annotation not in chosen)
    if missing:
        found = _of_images(trained, n, data, missing, progress)
        chosen |= {part.annotation: value for part, value in zip(missing, found, strict=True)}
    return tuple(chosen[part.annotation] for part in model.conditions)


def divided(n: int, numbers: Sequence[int]) -> list[int]:
    """The classes of n images, divided evenly: the first ones have one more, or are the only ones.

    Example:
        >>> divided(8, [0, 1, 2])
        [0, 0, 0, 1, 1, 1, 2, 2]
    """
    each, more = divmod(n, len(numbers))
    return [k for place, k in enumerate(numbers) for _ in range(each + (place < more))]


def class_numbers(trained: Trained, name: str) -> list[int]:
    """The class with this name or number; "all" gives all classes, and "none" -1, for unknown."""
    counts = [part.classes for part in of_kind(trained.model.conditions, ClassCondition).values()]
    if not counts:
        raise UsageError(
            "‹class_› was given, but this model is not conditioned on classes; leave it out"
        )
    classes, count = list(trained.card.classes), counts[0]
    if name == "all":
        return list(range(count))
    if name in classes:
        return [classes.index(name)]
    if name == "none":
        return [-1]
    if name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < count:
        return [int(name)]
    known = ", ".join(classes) if classes else f"0 to {count - 1}"
    raise UsageError(
        f"‹class_={name}› is not a class of this model; use all, none, or one of {known}"
    )


def _indicators(names: str, known: tuple[str, ...]) -> Tensor:
    """The vector of several labels, such as "red;round"; of "none" it is unknown."""
    if names == "none" and names not in known:
        return torch.full((1, len(known)), torch.nan)
    given = {name.strip() for name in names.split(";") if name.strip()}
    if unknown := sorted(given - set(known)):
        raise UsageError(
            f"‹class_={names}› has the label {unknown[0]!r}, but the model knows"
            f" {', '.join(known)}; give some of them, divided by ;"
        )
    return torch.tensor([[float(name in given) for name in known]])


def _stands_alone(file: str | Path | None, data: DataRequest) -> bool:
    """Whether a file of values is what images are drawn given, not that of some images."""
    return file is not None and (data.data is None or Path(file).suffix.lower() == ".npy")


def _maps(trained: Trained, n: int, size: tuple[int, int], data: DataRequest) -> Tensor:
    """The n first maps of an .npy file, which repeat if there are fewer."""
    path = Path(str(data.maps)).expanduser()
    part = next(iter(of_kind(trained.model.conditions, MapCondition).values()), None)
    if part is None:
        raise UsageError("‹maps› was given, but the model is not conditioned on maps; leave it out")
    if path.is_dir():
        raise UsageError(
            f"{path} is a folder of maps of images; give these images as ‹data›, or an .npy file"
        )
    maps = read_npy(_existing(path, "maps"))
    alone = maps.ndim == 2 or (maps.ndim == 3 and maps.shape[0] == part.maps > 1)
    maps = checked_maps(np.array(maps)[None] if alone else np.array(maps), str(path), size)
    wanted = part.shape(len(maps), size)
    if maps.shape != wanted or not len(maps):
        raise UsageError(
            f"{path} holds maps of {_map_words(maps.shape)}, but images of {size[0]}×{size[1]} take"
            f" maps of {_map_words(wanted)}; give such maps, or the ‹size› that suits these"
        )
    if trained.card.preparation is not None and (scale := trained.card.preparation.map_scale):
        maps = scaled(maps, scale)
    values = torch.from_numpy(maps[np.arange(n) % len(maps)])
    return values.float() if part.levels is None else values.long()


def _map_words(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}×{shape[3]} and {shape[1]} channel{'s' * (shape[1] != 1)}"


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file of {what}")
    require_file(path)
    return path


def _of_images(
    trained: Trained,
    n: int,
    request: DataRequest,
    missing: tuple[Condition, ...],
    progress: Callable[[int, int], None] | None,
) -> Values:
    """Some conditions of the first n images, which repeat if there are fewer."""
    model = trained.model
    needed = missing if model.given_by_data else ()
    part = data_of(trained, request, needed=needed, progress=progress).split
    rows = np.arange(n) % len(part)
    if not model.given_by_data:
        return conditioned(model, part, rows)[1]
    return tensors(part, rows, model.device, missing)[1]


def _vectors(trained: Trained, n: int, caption: str | None, data: DataRequest) -> Tensor:
    """A vector for each image: from a file, of the caption, or both one after the other."""
    sizes = [part.size for part in of_kind(trained.model.conditions, VectorCondition).values()]
    if not sizes:
        option = "caption" if caption is not None else "vectors"
        raise UsageError(
            f"‹{option}› was given, but this model is not conditioned on vectors; leave it out"
        )
    pieces = [] if data.vectors is None else [_rows(Path(data.vectors).expanduser(), n)]
    if caption is not None:
        pieces.append(_caption_vector(trained, caption, data.text_encoder).expand(n, -1))
    vectors = torch.cat(pieces, dim=1)
    if vectors.shape[1] != sizes[0]:
        both = "" if len(pieces) > 1 else "; a model of both takes ‹vectors› and ‹caption›"
        raise UsageError(
            f"the vectors have {vectors.shape[1]} entries, but the model takes {sizes[0]}{both}"
        )
    return vectors


def _caption_vector(trained: Trained, caption: str, text_encoder: str | None) -> Tensor:
    preparation = trained.card.preparation
    words = None if preparation is None else preparation.text_encoder
    if words is None:
        raise UsageError(
            "‹caption› was given, but this model was not trained on captions; leave it out"
        )
    if isinstance(words, str):
        if text_encoder is None:
            raise UsageError(
                f"the captions were encoded by {words}: say ‹text_encoder={shlex.quote(words)}› if"
                " you trust it"
            )
        return torch.from_numpy(encode_captions(import_encoder(text_encoder), [caption]))
    vectors = BagOfWords(words)([caption])
    if not vectors.any():
        raise UsageError(
            f"‹caption={caption}› has no word of the model; it knows {', '.join(words[:20])} …"
        )
    return torch.from_numpy(vectors)


def _rows(path: Path, n: int) -> Tensor:
    """The n first vectors of an .npy file, which repeat if there are fewer."""
    _existing(path, "vectors")
    if path.suffix.lower() == ".csv":
        raise UsageError(
            f"{path}: a .csv table of vectors needs the images that it is about, as ‹data›; without"
            " them, give an .npy file"
        )
    try:
        table = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy raises many kinds on damaged files.
        raise UsageError(
            f"{path}: cannot be read as an .npy file ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(table, np.ndarray) or not table.size:
        raise UsageError(f"{path} holds no vectors; give an .npy file of one or several")
    table = checked_vectors(table[None] if table.ndim == 1 else table, str(path))
    return torch.from_numpy(table[np.arange(n) % len(table)])
