"""A copy of a checkpoint to publish, without what is private in it.

What a model was trained on is named in its card: files and folders, classes, words of captions.
Such names can be those of people. The copy has only what the model needs.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from nextpixel.checkpoint import open_checkpoint, save
from nextpixel.files.card import ModelCard, Training

__all__ = ["Published", "publish", "without_names"]


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of a card.

    Attributes:
        card: that of the copy.
        dropped: what it no longer says, in words.
        kept: what it still says, in words.
    """

    card: ModelCard
    dropped: tuple[str, ...]
    kept: tuple[str, ...]


def publish(
    path_or_name: str | Path,
    out: str | Path,
    *,
    keep_classes: bool = False,
    keep_words: bool = False,
) -> Published:
    """Writes a copy of a checkpoint without private names.

    Dropped are the source (names of files, folders and data sets), the notes, the names of classes
    and the words of captions. Classes are numbered instead. Weights are the same, and can still
    remember images: a copy is as private as they are.

    Args:
        path_or_name: the checkpoint, as for `nextpixel.load`.
        out: the file to write.
        keep_classes: keep the names of the classes.
        keep_words: keep the words that captions are made of, so that the copy takes captions; or
            the name of the text encoder.

    Raises:
        CheckpointError: as for `nextpixel.load`.
    """
    model, card = open_checkpoint(path_or_name)
    clean, dropped = without_names(card, keep_classes=keep_classes, keep_words=keep_words)
    save(model, out, card=clean)
    kept = [f"the weights and the configuration of the {card.model}"]
    if clean.classes:
        what = "names" if keep_classes else "number"
        kept.append(f"the {what} of its {len(clean.classes)} classes")
    if clean.held_out:
        kept.append(f"the names of the {len(clean.held_out)} classes that were held out")
    if clean.shape is not None:
        kept.append("the size of the images")
    if clean.preparation is not None:
        kept.append("how images are prepared: size, levels, channels, splits and their seed")
        if clean.preparation.text_encoder is not None:
            kept.append("the words or the encoder of captions")
    if clean.training is not None:
        kept.append("the configuration and the figures of the training")
    if clean.digest is not None or clean.ancestors_digest is not None:
        kept.append(
            "fingerprints of the images, by which those who have an image can tell whether the"
            " model was trained on it"
        )
    return Published(card=clean, dropped=tuple(dropped), kept=tuple(kept))


def without_names(
    card: ModelCard, *, keep_classes: bool, keep_words: bool
) -> tuple[ModelCard, list[str]]:
    """The card without private names, and what was dropped."""
    dropped = []
    clean = replace(card, own=False, source=None, notes={}, verification=None)
    if card.source is not None:
        dropped.append("the source of the images")
    if card.notes:
        dropped.append(f"{len(card.notes)} notes")
    if card.verification is not None:
        dropped.append("the figures of the verification, which are those of single classes")
    if card.classes and not keep_classes:
        clean = replace(clean, classes=tuple(str(k) for k in range(len(card.classes))))
        dropped.append(f"the names of {len(card.classes)} classes")
    if card.held_out and not keep_classes:
        clean = replace(clean, held_out=())
        dropped.append(f"the names of {len(card.held_out)} classes that were held out")
    preparation = card.preparation
    if preparation is not None and preparation.attributes is not None and not keep_classes:
        numbers = tuple(str(k) for k in range(len(preparation.attributes)))
        preparation = replace(preparation, attributes=numbers)
        clean = replace(clean, preparation=preparation)
        dropped.append(f"the names of {len(numbers)} labels")
    if preparation is not None and preparation.text_encoder is not None and not keep_words:
        clean = replace(clean, preparation=replace(preparation, text_encoder=None))
        dropped.append("the words or the encoder of captions")
    if named := [one for one in card.ancestors if one.name]:
        clean = replace(clean, ancestors=tuple(replace(one, name="") for one in card.ancestors))
        dropped.append(f"the names of {len(named)} checkpoints that the training started from")
    if isinstance(card.training, Training) and card.training.seconds is not None:
        clean = replace(clean, training=replace(card.training, seconds=None))
        dropped.append("how long the training took")
    return clean, dropped
