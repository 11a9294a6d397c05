"""A digest of data: which images a model was trained, validated and tested on.

A checkpoint keeps the fingerprints of its images, eight bytes each, so that every later command can
say how the data differ from those of the training, and no image that was trained on is counted as a
test. Of a split of more than 2^20 images only the lowest 2^16 fingerprints are kept, an even sample
whose members are known exactly.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import Fingerprints, mixed
from nextpixel.data.splits import ImageData, Split, subset
from nextpixel.data.storage import SPLIT_WORDS

__all__ = ["DataDigest", "without_ancestors", "without_trained"]

_SPLITS = ("train", "valid", "test")
_MOST_EXACT = 2**20
_SAMPLE = 2**16
_HIGHEST = np.uint64(2**64 - 1)


@dataclass(frozen=True, kw_only=True)
class DataDigest:
    """The fingerprints of the images of each split.

    Attributes:
        images: How many images each split has.
        kept: Their fingerprints in order, or the lowest of them.
        labels: A hash of the class of each image, whatever their order; None if there are none, or
            it is not known.
    """

    images: Mapping[str, int]
    kept: Mapping[str, Fingerprints]
    labels: int | None = None

    @classmethod
    def of(cls, data: ImageData) -> "DataDigest | None":
        """The digest of some data; None if its images have no fingerprints."""
        images, kept = {}, {}
        labels = [_label_hash(getattr(data, name), data.classes) for name in _SPLITS]
        for name in _SPLITS:
            prints = getattr(data, name).fingerprints
            if prints is None:
                return None
            images[name], kept[name] = len(prints), _lowest(prints)
        known = [value for value in labels if value is not None]
        return cls(images=images, kept=kept, labels=sum(known) % 2**64 if known else None)

    @property
    def limit(self) -> np.uint64:
        """Up to this fingerprint, all images are known."""
        sampled = (name for name in _SPLITS if self.images[name] > len(self.kept[name]))
        return min((self.kept[name][-1] for name in sampled), default=_HIGHEST)

    def difference(self, now: "DataDigest") -> str | None:
        """What is other data now, in words; None if nothing is."""
        limit = min(self.limit, now.limit)
        then, present = self._up_to(limit), now._up_to(limit)
        new, missing = _excess(present, then), _excess(then, present)
        gone = sum(
            _excess(*(d.kept[name][d.kept[name] <= limit] for d in (self, now))) for name in _SPLITS
        )
        moved = gone - missing  # What left a split and is still there is in another.
        parts = []
        about = "" if limit == _HIGHEST else "about "
        share = 1.0 if limit == _HIGHEST else sum(now.images.values()) / max(1, len(present))
        if new:
            total = sum(now.images.values())
            parts.append(f"{about}{round(new * share):,} of {_pictures(total)} {_are(new)} new")
        if missing:
            parts.append(f"{about}{round(missing * share):,} {_are(missing)} missing")
        if moved > 0:
            parts.append(f"{about}{round(moved * share):,} {_are(moved)} in another split")
        whole = not parts and limit == _HIGHEST and None not in (self.labels, now.labels)
        if whole and self.labels != now.labels:
            parts.append("some labels are others")
        return ", ".join(parts) or None

    def without_trained(self, name: str, split: Split) -> tuple[Split, int]:
        """A split without images that this digest has among the training images alone.

        Returns:
            The other images, and how many were left out. Images that were in the same split in the
            training stay: where a data set holds copies in its test split, that is its own matter.
        """
        if name == "train" or split.fingerprints is None:
            return split, 0
        prints = split.fingerprints
        # Hashes are too far apart for a table of them, which numpy 2.0 tries for a single one.
        known = {key: np.isin(prints, self.kept[key], kind="sort") for key in ("train", name)}
        trained = known["train"] & ~known[name]
        if not trained.any():
            return split, 0
        return subset(split, np.flatnonzero(~trained)), int(trained.sum())

    def joined(self, earlier: "DataDigest") -> "DataDigest":
        """This digest, and as training images those of an earlier one too."""
        parts = (self.kept["train"], earlier.kept["train"])
        counted = [np.unique(part, return_counts=True) for part in parts]
        prints = np.unique(np.concatenate(parts))
        copies = np.zeros(len(prints), np.int64)  # of each image, in the data that have more
        for found, count in counted:
            places = np.searchsorted(prints, found)
            copies[places] = np.maximum(copies[places], count)
        train = np.repeat(prints, copies)
        images = {**self.images, "train": max(len(train), self.images["train"])}
        return DataDigest(images=images, kept={**self.kept, "train": _lowest(train)})

    def trained_alone(self) -> "DataDigest":
        """The digest of the training images alone."""
        nothing = np.zeros(0, np.uint64)
        images = {name: self.images[name] if name == "train" else 0 for name in _SPLITS}
        kept = {name: self.kept[name] if name == "train" else nothing for name in _SPLITS}
        return DataDigest(images=images, kept=kept)

    def to_json(self) -> dict[str, Any]:
        """The digest as JSON."""
        record: dict[str, Any] = {
            name: {
                "images": self.images[name],
                "fingerprints": base64.b64encode(self.kept[name].astype("<u8").tobytes()).decode(),
            }
            for name in _SPLITS
        }
        return record if self.labels is None else {**record, "labels": self.labels}

    @classmethod
    def from_json(cls, record: object) -> "DataDigest":
        """Read what `to_json` wrote.

        Raises:
            DataError: If the record is damaged.
        """
        images, kept = {}, {}
        try:
            for name in _SPLITS:
                part = record[name]  # type: ignore[index]
                count, text = part["images"], part["fingerprints"]
                prints = np.frombuffer(base64.b64decode(text, validate=True), "<u8")
                if type(count) is not int or not len(prints) <= count < 2**53:
                    raise ValueError(f"{count!r:.40} images")
                images[name], kept[name] = count, np.sort(prints).astype(np.uint64)
            labels = record.get("labels")  # type: ignore[attr-defined]
            if labels is not None and (type(labels) is not int or not 0 <= labels < 2**64):
                raise ValueError(f"{labels!r:.40} as the hash of labels")
        except (AttributeError, TypeError, KeyError, ValueError, binascii.Error) as error:
            raise DataError(f"the digest of the data is damaged ({error!r:.60})") from error
        return cls(images=images, kept=kept, labels=labels)

    def _up_to(self, limit: np.uint64) -> Fingerprints:
        prints = np.concatenate([self.kept[name] for name in _SPLITS])
        return prints[prints <= limit]


def without_ancestors(data: ImageData, record: object) -> tuple[ImageData, tuple[str, ...]]:
    """Data without validation and test images that an ancestor of a model was trained on.

    Args:
        data: The data.
        record: The digest of the images that the ancestors were trained on; None if unknown.

    Returns:
        The data, and notes of what was left out.

    Raises:
        DataError: If the record is damaged.
    """
    if record is None:
        return data, ()
    digest, notes = DataDigest.from_json(record), []
    splits: dict[str, Any] = {}
    for name in ("valid", "test"):
        splits[name], left_out = digest.without_trained(name, getattr(data, name))
        if left_out:
            notes.append(
                f"{_pictures(left_out)} of the {name} split left out: the checkpoint that the model"
                " started from was trained on them"
            )
    return replace(data, **splits), tuple(notes)


def without_trained(
    record: object, data: ImageData, split: Split, name: str, *, same: bool
) -> tuple[Split, tuple[str, ...]]:
    """A split of some data without images that a model was trained on, and notes of what differs.

    Args:
        record: The digest in the model's card; None if it has none.
        data: The data now.
        split: A split of them.
        name: What it is called; of "train", and of "all" images of other data, none is left out.
        same: Whether the data are those of the training, so that a difference is worth a note.

    Raises:
        DataError: If all images were trained on.
    """
    now = DataDigest.of(data)
    if record is None or now is None:
        return split, ()
    then, notes = DataDigest.from_json(record), []
    if same and (difference := then.difference(now)):
        notes.append(f"the data have changed since the training: {difference}")
    if name in ("train", "all"):
        return split, tuple(notes)
    part, left_out = then.without_trained(name, split)
    if left_out:
        were = "was" if left_out == 1 else "were"
        notes.append(f"{_pictures(left_out)} of the {name} split {were} trained on, and left out")
    if not len(part):
        raise DataError(
            f"all {SPLIT_WORDS[name]} images of {data.source} were trained on; choose another"
            " ‹split›"
        )
    return part, tuple(notes)


def _lowest(prints: Fingerprints) -> Fingerprints:
    ordered = np.sort(prints)
    return ordered if len(ordered) <= _MOST_EXACT else ordered[:_SAMPLE]


def _label_hash(split: Split, classes: Sequence[str]) -> int | None:
    """The sum over images of a hash of the image and the name of its class."""
    if split.labels is None or split.fingerprints is None:
        return None
    hashed = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in classes]
    names = np.append(np.frombuffer(b"".join(hashed), "<u8"), 0).astype(np.uint64)
    values = mixed(split.fingerprints ^ names[np.asarray(split.labels)])  # -1 is the last.
    return int(values.sum(dtype=np.uint64))


def _excess(prints: Fingerprints, others: Fingerprints) -> int:
    """How many fingerprints are more than the others have, copies counted."""
    values, counts = np.unique(prints, return_counts=True)
    known, numbers = np.unique(others, return_counts=True)
    held = np.zeros(len(values), np.int64)
    _, here, there = np.intersect1d(values, known, assume_unique=True, return_indices=True)
    held[here] = numbers[there]
    return int(np.maximum(counts - held, 0).sum())


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s' * (count != 1)}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
