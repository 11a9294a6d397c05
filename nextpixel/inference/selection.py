"""The images on which a trained model is used: a split of its training data, or other images."""

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from nextpixel.arguments import shown
from nextpixel.checkpoint import pretrained
from nextpixel.conditions.kinds import ClassCondition, Condition, of_kind
from nextpixel.data.again import load_again
from nextpixel.data.digest import without_ancestors, without_trained
from nextpixel.data.splits import ImageData, Split
from nextpixel.data.storage import SPLIT_WORDS
from nextpixel.errors import UsageError
from nextpixel.files.card import ModelCard
from nextpixel.inference.trained import Trained
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.source import Annotations, Source
from nextpixel.training.ownership import check_places

__all__ = ["Selection", "data_of"]

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Images chosen by a `DataRequest`.

    Attributes:
        data: the source they are from, prepared as the training data were.
        split: the images and what belongs to them. Classes are those of the model.
        name: of the split: "train", "valid", "test", or "all".
    """

    data: ImageData
    split: Split
    name: str

    @property
    def source(self) -> str:
        """The name of the source."""
        return str(self.data.source)


def data_of(
    trained: Trained,
    request: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    needed: tuple[Condition, ...] | None = None,
    instead: str = "",
    with_labels: bool = False,
    hold: bool = True,
    progress: Progress | None = None,
) -> Selection:
    """Read the images that a request names, prepared as the model's training data were.

    Of the training data this is a split. Of another source it is that split if the source has
    splits of its own, and otherwise all images.

    Args:
        trained: the model.
        request: which images.
        needed: the conditions whose values must come with the images; None for all that data
            give. Labels must be classes of the model.
        instead: what may be given in the place of missing values, for the error.
        with_labels: whether to read labels that the model does not look at.
        hold: whether images that fit into memory are prepared at once, see `load_data`.
        progress: called with how many images are read, and of how many.

    Raises:
        UsageError: the data are unknown or not there, the split is empty, it lacks what the model
            is conditioned on, or a class is not one of the model.
    """
    if not isinstance(request, DataRequest):
        raise UsageError(
            f"images are chosen by a DataRequest, not by {shown(request)}; give"
            " DataRequest(data=…) for other images than the training data"
        )
    needed = trained.model.given_by_data if needed is None else needed
    labelled = bool(of_kind(needed, ClassCondition))
    card, preparation = trained.card, trained.card.preparation or Preparation()
    encoder = None
    if isinstance(named := preparation.text_encoder, str):
        if request.text_encoder is None:
            raise UsageError(
                f"the captions were encoded by {named}: say ‹text_encoder={shlex.quote(named)}›"
                " if you trust it"
            )
        encoder = request.text_encoder
    source = _source(trained, request, with_labels=with_labels)
    if with_labels:
        preparation = replace(preparation, ignore_labels=False)
    if request.data is not None:
        # An embedding knows the classes that it has not seen by their names.
        wanted = labelled or with_labels or preparation.attributes is not None
        ignored = preparation.ignore_labels if source.embedding is not None else not wanted
        preparation = replace(preparation, validation=0, test=0, ignore_labels=ignored)
    data = load_again(source, preparation, text_encoder=encoder, hold=hold, progress=progress)
    data, left_out = without_ancestors(data, card.ancestors_digest)
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    name: str = request.split
    part = splits[name]
    if request.data is not None and not len(data.valid) and not len(data.test):
        part, name = data.train, "all"
    if not len(part):
        words = SPLIT_WORDS.get(name, name)
        raise UsageError(f"{data.source} has no {words} images; choose another ‹split›")
    for condition in needed:
        if not part.has(condition.annotation):
            raise UsageError(_without(condition, data, trained, instead))
    part, notes = without_trained(trained.card.digest, data, part, name, same=request.data is None)
    for note in (*left_out, *notes):
        _log.warning("%s", note)
    if labelled and request.data is not None:
        part = _with_classes_of_model(part, data, card)
    if labelled and part.labels is not None and (unknown := int((part.labels < 0).sum())):
        _log.warning(
            "%d of %d images have no label: their class counts as unknown", unknown, len(part)
        )
    return Selection(data=data, split=part, name=name)


def _source(trained: Trained, request: DataRequest, *, with_labels: bool) -> Source:
    """The source that a request names, if it may be opened and is there."""
    recorded = trained.card.source
    if recorded is None and request.data is None:
        raise UsageError("the checkpoint does not say what data it was trained on; give ‹data›")
    name = trained.name.removeprefix("nextpixel:")
    if request.data is None and name in pretrained() and not trained.card.own:
        terms = str(trained.card.notes.get("data_terms", recorded))
        raise UsageError(
            f"the pretrained model {name} was trained on {recorded}, made of {terms}; its images"
            f" are not included: give them, or other images, as ‹data›{_form(trained)}"
        )
    embedding = None if recorded is None else recorded.embedding
    if embedding is None and request.embedding is not None:
        raise UsageError(
            "‹embedding› was given, but this model was trained without one; leave it out"
        )
    if recorded is not None:
        said = set() if request.embedding is None else {"embedding"}
        # Of other images only the embedding is still that of the training.
        asked = recorded if request.data is None else Source("digits", embedding=embedding)
        check_places(asked, said, own=trained.card.own, file=trained.name, source="data")
    embedding = request.embedding or embedding
    if embedding is not None and not Path(embedding).expanduser().exists():
        raise UsageError(
            f"the embedding that this model was trained with is not at {embedding}; say where it"
            " is: ‹embedding›"
        )
    annotations = {item.name: getattr(request, item.name) for item in fields(Annotations)}
    annotations["embedding"] = embedding
    if request.data is not None:
        _check_wanted(trained, request, embedding, with_labels=with_labels)
        return Source(request.data, **annotations)
    annotations.pop("embedding")
    if beyond := next((name for name, value in annotations.items() if value is not None), None):
        raise UsageError(f"‹{beyond}› goes with other images: give ‹data› too, or leave it out")
    assert recorded is not None
    source = replace(recorded, embedding=embedding)
    if missing := source.missing:
        raise UsageError(
            f"this model was trained on {source}, but {missing} is not there, seen from"
            f" {Path.cwd()}; say where such images are: ‹data›"
        )
    return source


def _check_wanted(
    trained: Trained, request: DataRequest, embedding: str | Path | None, *, with_labels: bool
) -> None:
    """Raises UsageError if something was given with images that the model does not look at."""
    of_labels = ("labels", "label_column", "label_pattern")
    kinds = dict.fromkeys(of_labels, "labels") | {name: name for name in ("vectors", "maps")}
    kinds["captions"] = "vectors"
    wanted = {part.annotation for part in trained.model.given_by_data}
    preparation = trained.card.preparation
    attributes = preparation is not None and preparation.attributes is not None
    if embedding is not None or attributes or with_labels:
        wanted.add("labels")
    for name, annotation in kinds.items():
        if getattr(request, name) is not None and annotation not in wanted:
            raise UsageError(
                f"‹{name}› was given, but this model is not conditioned on {annotation}; leave it"
                " out"
            )


def _form(trained: Trained) -> str:
    """What images a pretrained model takes, and how to name their classes."""
    card, model = trained.card, trained.model
    size = "" if card.shape is None else " of {}×{}".format(*card.shape)
    kind = {1: "grey", 3: "RGB"}.get(model.channels, f"of {model.channels} channels")
    size += "" if model.levels == 256 else f" with {model.levels} levels"
    words = f", such as a folder of {kind} pictures{size} or an .npz file with test_images"
    if of_kind(model.given_by_data, ClassCondition) and card.classes:
        shown = ", ".join(card.classes[:3]) + (" …" if len(card.classes) > 3 else "")
        words += f", in classes called {shown} (sub-folders, or test_labels with label_names)"
    return words


def _without(part: Condition, data: ImageData, trained: Trained, instead: str) -> str:
    """What to do if images lack what the model is conditioned on."""
    option = {
        "labels": "a file of them as ‹labels›, or ‹label_pattern›",
        "vectors": "a file of them as ‹vectors›, or of texts as ‹captions›",
        "maps": "a file or folder of them as ‹maps›",
    }[part.annotation]
    if part.annotation == "vectors" and (names := data.preparation.attributes):
        option = f"a table of the labels {', '.join(names[:10])} as ‹labels›"
    how = trained.card.source and trained.card.source.label_pattern
    if part.annotation == "labels" and how:
        option += f" (in training {how!r})"
    return (
        f"the model is conditioned on {part.annotation}, but {data.source} has none; give"
        f" {option}{instead}"
    )


def _with_classes_of_model(split: Split, data: ImageData, card: ModelCard) -> Split:
    """The split with labels that are numbers of the model's classes."""
    known = list(card.classes)
    if list(data.classes) == known:
        return split
    if unknown := [name for name in data.classes if name not in known]:
        raise UsageError(
            f"{data.source} has the class {unknown[0]!r}, but the model knows only"
            f" {', '.join(known)}; classes are matched by name: rename them"
        )
    numbers = np.array([*(known.index(name) for name in data.classes), -1])  # -1 stays unknown
    return replace(split, labels=numbers[split.labels])
