"""Fine-tuning: a run that starts from the weights of a checkpoint.

The architecture and the preparation of the data are those of the checkpoint. Nothing that it names
is opened. Classes are matched by name: a new class begins as unknown, which adds nothing to any
layer, and a class that the data do not have is dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from nextpixel.checkpoint import open_checkpoint
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.data.again import load_again
from nextpixel.data.annotations import TextEncoder
from nextpixel.data.digest import DataDigest, without_ancestors
from nextpixel.data.errors import DataError
from nextpixel.data.splits import ImageData
from nextpixel.devices import seeded
from nextpixel.errors import UsageError
from nextpixel.files.card import Ancestor, ModelCard, place_name
from nextpixel.models import registry
from nextpixel.models.core import AutoregressiveModel, ImageModel
from nextpixel.models.trainable import Trainable
from nextpixel.orders import counts_of
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.training import TrainConfig

__all__ = ["Start", "start_from_checkpoint"]

_OF_THE_SPLIT = ("validation", "test", "split_seed", "split_by", "skip_broken", "skip_small")
_OF_THE_LEVELS = ("levels", "from_levels", "binarise")


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a run starts from.

    Attributes:
        model: the weights of the checkpoint, for the classes of the data.
        data: the images, prepared as those of the checkpoint, without images that it was trained on
            in the splits for validation and testing; its notes say what fits and what does not.
        ancestors: the checkpoint, and those that it started from.
        digest: of the images that they were trained on, as JSON; None if they do not say.
    """

    model: Trainable
    data: ImageData
    ancestors: tuple[Ancestor, ...]
    digest: Mapping[str, Any] | None


def start_from_checkpoint(
    start_from: str | Path,
    source: Any,
    preparation: Mapping[str, Any],
    training: TrainConfig,
    *,
    text_encoder: TextEncoder | str | None = None,
    conditional: bool | None = None,
    orders: int | None = None,
    colour_orders: int | None = None,
    progress: Any = None,
) -> Start:
    """Open a checkpoint, and read other data for it.

    Args:
        start_from: a run folder, a checkpoint, or the name of a pretrained model.
        source: the images, and the files that belong to them.
        preparation: fields of a `Preparation` that differ from those of the checkpoint.
        training: how the model will be trained.
        text_encoder: the function that makes vectors of captions, if the checkpoint names one.
        conditional: None or what the model is: an unconditional model stays so.
        orders, colour_orders: in how many orders the model is to go through images, and through the
            colours of a pixel; None for as many as it knows.
        progress: called with how many images have been decoded, and of how many.

    Raises:
        UsageError: the checkpoint and the data do not fit together.
        CheckpointError: the checkpoint is damaged, or an embedding.
    """
    model, card = open_checkpoint(start_from)
    if not isinstance(model, Trainable):
        raise UsageError(
            f"‹start_from={start_from}› holds an embedding; give a checkpoint of a model of images"
        )
    if conditional is not None and conditional != bool(model.given_by_data):
        kind = "conditional" if model.given_by_data else "unconditional"
        raise UsageError(
            f"‹start_from={start_from}› holds a model that is {kind}, and it stays so; leave out"
            f" ‹{'conditional' if conditional else 'no_conditional'}›"
        )
    classed = bool(of_kind(model.given_by_data, ClassCondition))
    prepared = _preparation(card, preparation, training, start_from, ignore_labels=not classed)
    if isinstance(prepared.text_encoder, str) and text_encoder is None:
        raise UsageError(
            f"‹start_from={start_from}› was trained with captions encoded by"
            f" {prepared.text_encoder}; give ‹text_encoder› if you trust it"
        )
    try:
        data = load_again(source, prepared, text_encoder=text_encoder, progress=progress)
    except DataError as error:
        if "the largest is" not in error.sentence:
            raise
        raise DataError(
            f"{error.sentence}; give ‹from_levels› or ‹binarise› to prepare others"
        ) from error
    for name in ("channels", "levels"):
        own, theirs = getattr(model, name), getattr(data, name)
        if own != theirs:
            raise UsageError(
                f"‹start_from={start_from}› holds a model with {name}={own}, but the images have"
                f" {name}={theirs}; leave out ‹{name}›, or start without the checkpoint"
            )
    notes = [f"starts from {place_name(str(start_from))}, {_steps(card)}"]
    if classed:
        if not data.classes:
            raise UsageError(
                f"‹start_from={start_from}› holds a model conditioned on"
                f" {len(card.classes)} classes, but {data.source} has none; give labelled images"
            )
        model, said = _with_classes(model, card.classes, data.classes)
        notes += said
    asked = {"orders": orders, "colour_orders": colour_orders}
    model, said = _with_orders(model, asked, start_from)
    notes += said
    record = _trained_on(card)
    if record is None:
        notes.append(
            "the checkpoint does not say on which images it was trained; test images may"
            " be among them"
        )
    data, left_out = without_ancestors(data, record)
    own_record = Ancestor(
        name=place_name(str(start_from)),
        weights_sha256=card.weights_sha256,
        step=getattr(card.training, "step", None),
    )
    model = model if model.dtype in (torch.float32, torch.float64) else model.float()
    return Start(
        model=model.train(),
        data=replace(data, notes=(*notes, *data.notes, *left_out)),
        ancestors=(own_record, *card.ancestors),
        digest=record,
    )


def _preparation(
    card: ModelCard,
    given: Mapping[str, Any],
    training: TrainConfig,
    start_from: str | Path,
    *,
    ignore_labels: bool,
) -> Preparation:
    """The preparation of the checkpoint, with the fields that were given, and splits anew."""
    if card.preparation is None:
        raise UsageError(
            f"‹start_from={start_from}› does not say how its images were prepared; train a model"
            " with this version, or use the checkpoint in Python"
        )
    default = {field.name: field.default for field in fields(Preparation)}
    changed: dict[str, Any] = {name: default[name] for name in _OF_THE_SPLIT}
    if given.keys() & set(_OF_THE_LEVELS):
        changed |= {name: default[name] for name in _OF_THE_LEVELS}
        changed["levels"] = None if given.get("binarise") else card.preparation.levels
    if training.crop is not None:
        changed |= {"size": None, "ragged": "size" not in given}
    if given.get("ignore_labels") and not ignore_labels:
        raise UsageError(
            f"‹start_from={start_from}› holds a model conditioned on classes; leave out"
            " ‹ignore_labels›"
        )
    changed["ignore_labels"] = ignore_labels
    changed |= given
    return replace(card.preparation, **changed)


def _steps(card: ModelCard) -> str:
    step = getattr(card.training, "step", None)
    return "whose number of updates is not recorded" if step is None else f"after {step:,} updates"


def _trained_on(card: ModelCard) -> Mapping[str, Any] | None:
    """The digest of all images that a checkpoint and its ancestors were trained on."""
    if card.digest is None:
        return card.ancestors_digest
    digest = DataDigest.from_json(card.digest).trained_alone()
    if card.ancestors_digest is not None:
        digest = digest.joined(DataDigest.from_json(card.ancestors_digest))
    return digest.to_json()


def _with_orders(
    model: Trainable, asked: Mapping[str, int | None], start_from: str | Path
) -> tuple[Trainable, list[str]]:
    """The model of more orders, and what is new. What it is told of them adds nothing yet."""
    before = dict(zip(asked, counts_of(model.orders), strict=True))
    now = before | {name: count for name, count in asked.items() if count is not None}
    if now == before:
        return model, []
    new = next(name for name in now if now[name] != before[name])
    if not isinstance(model, ImageModel):
        raise UsageError(
            f"‹start_from={start_from}› holds a {type(model).__name__}, which goes through images"
            f" in no order; leave out ‹{new}={now[new]}›"
        )
    for name, count in now.items():
        if count < before[name]:
            words = name.replace("_", " ")
            raise UsageError(
                f"‹start_from={start_from}› holds a model of {before[name]} {words}, and it stays"
                f" so; leave out ‹{name}={count}›, or give more"
            )
    with seeded(0):  # the initial weights, of which few remain
        other = registry.build(type(model).__name__, _ordered(model.config(), now)).to(model.dtype)
    weights, start = model.state_dict(), other.state_dict()
    for key, value in start.items():
        old = weights.get(key)
        if key.endswith("of_vector.weight"):  # what is told of the order comes last
            value.zero_()
            end = value.shape[1]
            for name in ("colour_orders", "orders"):
                end -= now[name] - 1
                kept = before[name] - 1
                if old is not None and kept:
                    value[:, end : end + kept] = old[:, old.shape[1] - kept :]
                    old = old[:, : old.shape[1] - kept]
            if old is not None:
                value[:, :end] = old
        elif old is not None:
            value.copy_(old)
    assert isinstance(other, Trainable)
    several = math.prod(now.values())
    return other, [f"learns {several} orders, each of which begins as the first of the checkpoint"]


def _ordered(config: Any, orders: Mapping[str, int]) -> Any:
    """A configuration with other numbers of orders, of each network in it."""
    if not isinstance(config, Mapping):
        return config
    return {name: orders.get(name, _ordered(value, orders)) for name, value in config.items()}


def _with_classes(
    model: Trainable, before: tuple[str, ...], now: tuple[str, ...]
) -> tuple[Trainable, list[str]]:
    """The model of the classes of the data, and what is new and what is gone."""
    if before == now:
        return model, []
    known = [before.index(name) if name in before else None for name in now]
    config = _replaced(model.config(), len(before), len(now))
    with seeded(0):
        other = registry.build(type(model).__name__, config)
    assert isinstance(other, Trainable)
    weights = model.state_dict()
    for name, part in model.named_modules():
        if isinstance(part, AutoregressiveModel) and of_kind(part.conditions, ClassCondition):
            begin = 0
            for condition in part.conditions:
                if isinstance(condition, ClassCondition):
                    break
                begin += 0 if condition.per_pixel else condition.width
            for key in [key for key in weights if _is_bias(key, name)]:
                weights[key] = _chosen(weights[key], begin, len(before), known)
    other.to(model.dtype).load_state_dict(weights)
    new = [name for name in now if name not in before]
    gone = [name for name in before if name not in now]
    notes = []
    if new:
        notes.append(f"new classes, which begin as unknown: {_names(new)}")
    if gone:
        notes.append(f"classes of the checkpoint that these images do not have: {_names(gone)}")
    return other, notes


def _is_bias(key: str, module: str) -> bool:
    """Whether a tensor is what a class adds to a layer of a network."""
    return key.startswith(f"{module}." if module else "") and key.endswith("of_vector.weight")


def _chosen(weight: torch.Tensor, begin: int, before: int, known: list[int | None]) -> torch.Tensor:
    """Columns of the classes of the data: those of the checkpoint, and zeros for new classes."""
    columns = weight[:, begin : begin + before]
    zero = torch.zeros_like(columns[:, 0])
    chosen = [zero if place is None else columns[:, place] for place in known]
    return torch.cat(
        [weight[:, :begin], torch.stack(chosen, dim=1), weight[:, begin + before :]], dim=1
    )


def _replaced(config: Any, before: int, now: int) -> Any:
    """A configuration with another number of classes."""
    if isinstance(config, Mapping):
        if config == {"classes": before}:
            return {"classes": now}
        return {name: _replaced(value, before, now) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [_replaced(value, before, now) for value in config]
    return config


def _names(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
