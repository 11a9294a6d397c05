"""What several commands begin with: a model, its data, its conditions, a device, a progress bar."""

import importlib
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nextpixel.cli.options import BesideOptions
from nextpixel.cli.progress import counted_bar

if TYPE_CHECKING:
    import torch

    from nextpixel.card import ModelCard
    from nextpixel.condition_values import Values
    from nextpixel.conditions import Condition
    from nextpixel.data.annotations import TextEncoder
    from nextpixel.data.load import ImageData, Split
    from nextpixel.models.core import ImageModel
    from nextpixel.models.trainable import Trainable

__all__ = [
    "check_guidance",
    "class_indices",
    "condition_words",
    "conditions_for",
    "figure_words",
    "import_encoder",
    "open_model",
    "open_split",
    "open_trainable",
    "size_words",
]


def open_model(path: str, device: str) -> tuple["ImageModel", "ModelCard"]:
    """A trained model on its device, and its card."""
    from nextpixel.checkpoint import load
    from nextpixel.devices import pick_device
    from nextpixel.training.record import own_card

    return load(path, device=pick_device(device)), own_card(path)


def open_trainable(path: str, device: str) -> tuple["Trainable", "ModelCard"]:
    """As `open_model`, also for what draws no images, such as a convolutional auto-encoder."""
    from nextpixel.checkpoint import load_trainable
    from nextpixel.devices import pick_device
    from nextpixel.training.record import own_card

    return load_trainable(path, device=pick_device(device)), own_card(path)


def check_guidance(guidance: float, card: "ModelCard") -> None:
    """Raises unless the model was trained with unknown conditions, which guidance needs."""
    if guidance != 1 and not card.condition_dropout:
        raise ValueError(
            f"--guidance {guidance:g} needs a model that met unknown conditions; train one with"
            " --condition-dropout 0.1"
        )


def import_encoder(name: str) -> "TextEncoder":
    """Import the function that --text-encoder names, MODULE:FUNCTION; a class is called to make
    one.

    The working folder is searched last, even under ``python -m``: a file that lies beside
    somebody's data must not stand in for an installed module of its name.
    """
    module, _, attribute = name.partition(":")
    before, here = list(sys.path), os.path.realpath(os.getcwd())
    sys.path[:] = [entry for entry in before if os.path.realpath(entry) != here] + [here]
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found  # type: ignore[no-any-return]
    except Exception as error:  # whatever their code raises
        what = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"--text-encoder {name} cannot be imported ({what}); give MODULE:FUNCTION"
        ) from error
    finally:
        sys.path[:] = before


def open_split(
    card: "ModelCard",
    source: str | None,
    split: str,
    *,
    labelled: bool,
    beside: BesideOptions | None = None,
) -> tuple["ImageData", "Split", str]:
    """The data, the part of them that is asked for, and what to call it; `beside` is what was given
    with the source.

    Of the training data it is a split. Of another source, prepared in the same way, it is that
    split if the source has splits of its own, otherwise all of it. If `labelled`, classes are those
    that the model was trained on.
    """
    from nextpixel.data.again import load_again
    from nextpixel.data.digest import without_trained
    from nextpixel.data.preparation import Preparation
    from nextpixel.data.source import Source
    from nextpixel.errors import UsageError
    from nextpixel.training.ownership import check_places

    trained_on, preparation = card.source, card.preparation or Preparation()
    if source is None and trained_on is None:
        raise UsageError("the checkpoint does not say what data it was trained on; give ‹data›")
    beside = beside or BesideOptions()
    encoder = None
    if isinstance(named := preparation.text_encoder, str):
        if beside.text_encoder is None:
            raise UsageError(
                f"the captions were encoded by {named}: say ‹text_encoder={shlex.quote(named)}›"
                " if you trust it"
            )
        encoder = import_encoder(beside.text_encoder)
    embedding = None if trained_on is None else trained_on.embedding
    if embedding is None and beside.embedding is not None:
        raise UsageError(
            "‹embedding› was given, but this model was trained without one; leave it out"
        )
    if trained_on is not None:
        said = {name for name in ("embedding",) if beside.embedding is not None}
        # Of other images only the embedding is still that of the training.
        asked = trained_on if source is None else Source("digits", embedding=embedding)
        check_places(asked, said, own=card.own, file="the checkpoint", source="data")
    embedding = beside.embedding or embedding
    if embedding is not None and not Path(embedding).expanduser().exists():
        raise UsageError(
            f"the embedding that this model was trained with is not at {embedding}; say where:"
            " ‹embedding›"
        )
    annotations = {name: getattr(beside, name) for name in ("vectors", "captions", "maps")}
    if source is not None:
        images = Source(source, **annotations, embedding=embedding)
        # What an embedding held out is known by its classes.
        ignored = preparation.ignore_labels if embedding is not None else not labelled
        preparation = replace(preparation, validation=0, test=0, ignore_labels=ignored)
    elif beyond := next((name for name in annotations if annotations[name] is not None), None):
        raise UsageError(f"‹{beyond}› goes with other pictures: give ‹data› too, or leave it out")
    else:
        assert trained_on is not None
        images = replace(trained_on, embedding=embedding)
        if missing := images.missing:
            raise UsageError(
                f"this model was trained on {images}, but {missing} is not there, seen from"
                f" {Path.cwd()}; say where such images are: ‹data›"
            )
    with counted_bar("Reading") as progress:
        pictures = load_again(images, preparation, text_encoder=encoder, progress=progress)
    part: Split = getattr(pictures, split)
    if source is not None and not len(pictures.valid) and not len(pictures.test):
        part, split = pictures.train, "all"
    if not len(part):
        raise ValueError(f"{pictures.source} has no {split} images; choose another --split")
    part, notes = without_trained(card.digest, pictures, part, split, same=source is None)
    for note in notes:
        print(f"note      {note}", file=sys.stderr)
    known_classes = list(card.classes)
    if (
        labelled
        and source is not None
        and part.labels is not None
        and list(pictures.classes) != known_classes
    ):
        unknown = [name for name in pictures.classes if name not in known_classes]
        if unknown:
            known = ", ".join(known_classes)
            raise ValueError(
                f"{pictures.source} has the class {unknown[0]!r}, but the model knows only {known}"
            )
        numbers = np.array([known_classes.index(name) for name in pictures.classes])
        part = replace(part, labels=numbers[part.labels])
    return pictures, part, split


def class_indices(network: "ImageModel", card: "ModelCard", name: str) -> list[int]:
    """The class of that name or number as --class gives it; "all" stands for all of them, "none"
    for unknown.
    """
    from nextpixel.conditions import ClassCondition, of_kind

    counts = [part.classes for part in of_kind(network.conditions, ClassCondition).values()]
    if not counts:
        raise ValueError(
            "--class was given, but this model is not conditioned on classes; leave it out"
        )
    classes, count = list(card.classes), counts[0]
    if name == "all":
        return list(range(count))
    if name in classes:
        return [classes.index(name)]
    if name == "none":
        return [-1]
    if name.isdecimal() and int(name) < count:
        return [int(name)]
    known = ", ".join(classes) if classes else f"0 to {count - 1}"
    raise ValueError(
        f"--class {name!r} is not a class of this model; use all, none, or one of {known}"
    )


def size_words(shape: tuple[int, int] | None) -> str:
    """The size of all pictures in words."""
    return "several sizes" if shape is None else f"{shape[0]}×{shape[1]}"


def condition_words(network: "Trainable") -> str:
    """What a model is conditioned on: "the class and the vector"; "" for nothing."""
    if network.conditions and not network.given_by_data:
        return "" if network.figure.kind == "bound" else "its code"
    return " and ".join(f"the {part.noun}" for part in network.conditions)


def figure_words(network: "Trainable", bits: float) -> str:
    """What `training.evaluate` found, in words: exact, a bound, or an error of reconstruction."""
    figure = network.figure
    if figure.kind == "error":
        return f"{figure.name.replace('_', ' ')} {figure.value(bits):.3f} {figure.unit}"
    if figure.kind == "bound":
        return f"at most {bits:.4f} bits/dim (a bound)"
    return f"{bits:.4f} bits/dim" + (
        f" given {words}" if (words := condition_words(network)) else ""
    )


def conditions_for(
    network: "ImageModel",
    card: "ModelCard",
    n: int,
    *,
    class_: str | None = None,
    caption: str | None = None,
    vectors: Path | None = None,
    data: str | None = None,
    split: str = "test",
    beside: BesideOptions | None = None,
    seed: int = 0,
) -> "Values":
    """The values of all conditions for n pictures: as given, or those of a split's first pictures.

    Codes of a variational auto-encoder are drawn from its prior, unless a split is named.
    """
    import torch

    from nextpixel.conditions import ClassCondition, VectorCondition, of_kind

    chosen_values: dict[str, torch.Tensor] = {}
    if class_ is not None:
        chosen = class_indices(network, card, class_)
        chosen_values[ClassCondition.annotation] = torch.tensor(chosen).repeat_interleave(
            -(-n // len(chosen))
        )[:n]
    sizes = [part.size for part in of_kind(network.conditions, VectorCondition).values()]
    if (caption is not None or vectors is not None) and not sizes:
        option = "--caption" if caption is not None else "--vectors"
        raise ValueError(
            f"{option} was given, but this model is not conditioned on vectors; leave it out"
        )
    # Vectors stand before those of captions in a model of both.
    pieces = [] if vectors is None else [_rows(vectors, n)]
    if caption is not None:
        text_encoder = None if beside is None else beside.text_encoder
        pieces.append(_caption_vector(card, caption, text_encoder).expand(n, -1))
    if pieces:
        chosen_values[VectorCondition.annotation] = vector = torch.cat(pieces, dim=1)
        if vector.shape[1] != sizes[0]:
            both = (
                ""
                if vectors is not None and caption is not None
                else "; a model of both takes --vectors and --caption"
            )
            raise ValueError(
                f"the vectors have {vector.shape[1]} entries, but the model takes {sizes[0]}{both}"
            )
    if getattr(network, "variational", False) and data is None and not chosen_values:
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(n, sizes[0], generator=generator),)  # codes from the prior
    missing = tuple(part for part in network.conditions if part.annotation not in chosen_values)
    if missing:
        found = _of_split(network, card, n, data, split, beside, missing)
        chosen_values |= {p.annotation: value for p, value in zip(missing, found, strict=True)}
    return tuple(chosen_values[part.annotation] for part in network.conditions)


def _of_split(
    network: "ImageModel",
    card: "ModelCard",
    n: int,
    data: str | None,
    split: str,
    beside: BesideOptions | None,
    missing: "tuple[Condition, ...]",
) -> "Values":
    """Values of some conditions for the first n pictures of a split, repeated if there are fewer."""
    from nextpixel.conditions import ClassCondition, of_kind
    from nextpixel.training.batches import conditioned, tensors

    labelled = bool(of_kind(missing, ClassCondition))
    _, part, _ = open_split(card, data, split, labelled=labelled, beside=beside)
    rows = np.arange(n) % len(part)
    if not network.given_by_data:
        return conditioned(network, part, rows)[1]
    return tensors(part, rows, network.device, missing)[1]


def _caption_vector(card: "ModelCard", caption: str, text_encoder: str | None) -> "torch.Tensor":
    import torch

    from nextpixel.data.annotations import BagOfWords, encode_captions

    words = None if card.preparation is None else card.preparation.text_encoder
    if words is None:
        raise ValueError(
            "--caption was given, but this model was not trained on captions; leave it out"
        )
    if isinstance(words, str):
        if text_encoder is None:
            raise ValueError(
                f"the captions were encoded by {words}: say --text-encoder {shlex.quote(words)} if you"
                " trust it"
            )
        return torch.from_numpy(encode_captions(import_encoder(text_encoder), [caption]))
    encoder = BagOfWords(words)
    if not encoder([caption]).any():
        raise ValueError(
            f"--caption {caption!r} holds no word of the model; it knows {', '.join(words[:20])} …"
        )
    return torch.from_numpy(encoder([caption]))


def _rows(path: Path, n: int) -> "torch.Tensor":
    import torch

    from nextpixel.data.annotation_files import checked_vectors
    from nextpixel.data.folders import require_file

    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file of vectors")
    require_file(path)
    try:
        table = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy raises many kinds on damaged files.
        raise ValueError(
            f"{path}: cannot be read as a .npy file ({' '.join(str(error).split())})"
        ) from error
    table = checked_vectors(table[None] if table.ndim == 1 else table, str(path))
    return torch.from_numpy(table[np.arange(n) % len(table)])
