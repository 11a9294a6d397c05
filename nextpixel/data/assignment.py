"""Which images are for training, validation and testing.

By content, an image's split is a function of itself and of the seed: the hash of its fingerprint
lies in the part of the unit interval that belongs to a split. So an image that is added, removed,
renamed or moved changes the split of no other, and equal images are always in one split.
By index, as in version 0.1.0, the indices are shuffled, and one more image changes all splits.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nextpixel.data.errors import DataError
from nextpixel.data.fingerprints import Fingerprints, fingerprints, mixed
from nextpixel.data.splits import Split
from nextpixel.data.storage import SPLIT_WORDS
from nextpixel.settings.preparation import Preparation

__all__ = ["shuffled", "split_notes", "split_rows"]

_FEW_TO_HASH = 500
_FEW_TO_TEST = 30


def split_rows(
    present: Mapping[str, Split], preparation: Preparation
) -> dict[str, NDArray[np.int64]]:
    """Choose the rows of each split. Those of a split that the source has are all of its rows.

    The test split is chosen first, so that it does not depend on the validation split.

    Args:
        present: The splits of the source.
        preparation: Says how many images become the splits that the source does not have.
    """
    train = present["train"]
    amounts = {
        name: amount
        for name, amount in (("test", preparation.test), ("valid", preparation.validation))
        if name not in present and len(train)
    }
    rows = {name: np.arange(len(present[name])) for name in ("test", "valid") if name in present}
    rows |= {
        name: np.arange(0) for name in ("test", "valid") if not len(train) and name not in rows
    }
    if preparation.split_by == "index":
        chosen = _by_index(len(train), amounts, preparation)
    else:
        prints = train.fingerprints
        keys = fingerprints(train.images) if prints is None else prints
        chosen = _by_content(keys, amounts, preparation)
    taken = np.concatenate([np.arange(0), *chosen.values()])
    return {"train": np.setdiff1d(np.arange(len(train)), taken), **rows, **chosen}


def split_notes(
    present: Mapping[str, Split], rows: Mapping[str, NDArray[np.int64]], preparation: Preparation
) -> tuple[str, ...]:
    """What to know about splits of few images: shares that stray, and a test that says little."""
    notes, total = [], len(present["train"])
    shares = {"valid": preparation.validation, "test": preparation.test}
    strays = [
        name
        for name, share in shares.items()
        if name not in present
        and 0 < share < 1
        and abs(len(rows[name]) - int(total * share)) > 1 + total * share / 4
    ]
    if strays and preparation.split_by == "content" and total < _FEW_TO_HASH:
        train, valid, test = (len(rows[name]) for name in ("train", "valid", "test"))
        notes.append(
            f"{total} images are divided into {train} / {valid} / {test} (train / valid / test):"
            " splits by content have only roughly the shares asked for, which shows in a small"
            " set; ‹split_by=index› gives exact shares"
        )
    empty = [n for n, share in shares.items() if n not in present and share and not len(rows[n])]
    if total == 1 and empty:
        notes.append("a single image is not divided: there is no validation and no test split")
    elif total and empty and not notes:
        words = " and ".join(SPLIT_WORDS[name] for name in empty)
        notes.append(
            f"{total} images are too few to set some aside for {words};"
            " ‹split_by=index› with ‹validation=1› and ‹test=1› sets one aside for each"
        )
    if 0 < (count := len(rows["test"])) < _FEW_TO_TEST:
        notes.append(
            f"the test split has {count} image{'s' * (count > 1)}: a figure on fewer than"
            f" {_FEW_TO_TEST} is uncertain"
        )
    return tuple(notes)


def shuffled(count: int, seed: int) -> NDArray[np.int64]:
    """Order 0 ... count-1 by a hash of (seed, index).

    It is the same in every version of numpy: a checkpoint is compared on its test split years
    later.
    """
    keys = mixed(mixed(np.array([seed], np.uint64)) ^ np.arange(count, dtype=np.uint64))
    return np.argsort(keys, kind="stable")


def _by_index(
    count: int, amounts: Mapping[str, int | float], preparation: Preparation
) -> dict[str, NDArray[np.int64]]:
    left = shuffled(count, preparation.split_seed)
    chosen: dict[str, NDArray[np.int64]] = {}
    for name, amount in amounts.items():
        size = _number(amount, count)
        if size >= len(left):
            raise _too_much(preparation, count)
        chosen[name], left = np.sort(left[:size]), left[size:]
    return chosen


def _by_content(
    prints: Fingerprints, amounts: Mapping[str, int | float], preparation: Preparation
) -> dict[str, NDArray[np.int64]]:
    """Take the lowest hashes for testing, and the highest for validation."""
    count = len(prints)
    if amounts and sum(_number(amount, count) for amount in amounts.values()) >= count:
        raise _too_much(preparation, count)
    keys = mixed(mixed(np.array([preparation.split_seed], np.uint64)) ^ prints)
    order = np.argsort(keys, kind="stable")
    low = _taken(keys[order], amounts.get("test", 0))
    high = _taken(~keys[order[::-1]], amounts.get("valid", 0))
    # Copies of very few images: some of them must be left to train on.
    low = low if low < count else 0
    high = high if low + high < count else 0
    chosen = {"test": np.sort(order[:low]), "valid": np.sort(order[count - high :])}
    return {name: chosen[name] for name in amounts}


def _taken(keys: Fingerprints, amount: int | float) -> int:
    """How many of the first of sorted hashes are taken; equal images are not divided.

    A share takes those that lie in it: at least one image, but none of a set so small that the
    share is less than one. A number is exact unless that would divide copies.
    """
    size = _number(amount, len(keys))
    if not size:
        return 0
    end = size if amount >= 1 else max(1, int(np.searchsorted(keys / 2.0**64, amount)))
    if end == len(keys) or keys[end - 1] != keys[end]:
        return end
    first, past = np.searchsorted(keys, keys[end]), np.searchsorted(keys, keys[end], side="right")
    return int(first) if amount >= 1 and first else int(past)


def _number(amount: int | float, count: int) -> int:
    return int(amount) if amount >= 1 else int(count * amount)


def _too_much(preparation: Preparation, count: int) -> DataError:
    return DataError(
        f"‹validation={preparation.validation}› and ‹test={preparation.test}› leave none of the"
        f" {count} images to train on; use less"
    )
