"""What is normal for a trained model: typical pictures, and the scores of normal ones.

Two sets of pictures are needed. Typical hidden features and principal components are fitted on the
first, which may be the training pictures. The scores of the second, which took no part in training,
turn a score into a p-value.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nextpixel.analysis.calibration import (
    Calibration,
    calibrate,
    false_alarm_bound,
    images_needed_alone,
    load_calibration,
    save_calibration,
)
from nextpixel.analysis.components import ReducedImages, load_components, save_components
from nextpixel.analysis.typicality import fit_typicality, load_typicality, save_typicality
from nextpixel.checkpoint import CheckpointError
from nextpixel.conditions.values import Values
from nextpixel.data.splits import Split, subset
from nextpixel.errors import UsageError
from nextpixel.files.replacing import new_folder, replace_file
from nextpixel.inference.measuring import (
    CALIBRATED,
    COMBINED,
    Typical,
    batch_of,
    how_scored,
    measured,
    seen_in_training,
)
from nextpixel.inference.streaming import Stream, stream_of
from nextpixel.inference.trained import Trained
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest

__all__ = ["Normal", "fit_normal", "fitted_place", "load_normal"]

_TYPICALITY, _COMPONENTS, _CALIBRATION, _ABOUT = (
    "typicality.safetensors",
    "components.safetensors",
    "calibration.safetensors",
    "about.json",
)
_MOST_FITTED, _MOST_CALIBRATED = 4096, 16384
_FEWEST = 2

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Normal:
    """What is normal for a model.

    Attributes:
        typical: fitted on some normal pictures.
        calibration: the scores of others, by the names of `measuring.CALIBRATED`.
        about: how they were scored, and what they were: JSON.
    """

    typical: Typical
    calibration: Calibration
    about: Mapping[str, object]

    def guarantee(self, alarm_rate: float) -> str:
        """What an alarm at this rate means, in one sentence."""
        n = self.calibration.images
        most = false_alarm_bound(n, alarm_rate)
        return (
            f"of normal pictures like the {n:,} held-out ones, at most {alarm_rate:.3g} raise"
            f" an alarm in expectation; with these {n:,}, fewer than about {most:.3g} with"
            " 95 % confidence"
        )

    def cautions(self, rows: Sequence[Mapping[str, Any]], alarm_rate: float | None) -> list[str]:
        """What to know before the p-values of these rows are relied on, in sentences."""
        found = []
        n, needed = self.calibration.images, images_needed_alone(alarm_rate or 0.5, COMBINED)
        few = [f"{count:,} ({name})" for name, count in needed.items() if count > n]
        if few and alarm_rate is not None:
            found.append(
                f"{n:,} normal pictures are few for this rate: a picture that is strange by one"
                f" score alone may raise no alarm; it is sure to raise one with {', '.join(few)}"
            )
        sizes = self.about.get("sizes")
        if isinstance(sizes, dict) and (unlike := sum(_is_outside(row, sizes) for row in rows)):
            heights, widths = (f"{low}…{high}" for low, high in sizes.values())
            found.append(
                f"{unlike:,} of {len(rows):,} pictures are smaller or larger than all normal ones"
                f" ({heights} × {widths}), whose p-values say little of them"
            )
        return found

    def save(self, folder: str | Path) -> None:
        """Write four files into a folder, which is made.

        What says that they belong together is removed first and written last: a folder in which
        this was stopped is refused, and mixes no files of two fits.
        """
        folder = Path(folder)
        with new_folder(folder):
            (folder / _ABOUT).unlink(missing_ok=True)
            save_typicality(self.typical.hidden, folder / _TYPICALITY)
            save_components(self.typical.components, folder / _COMPONENTS)
            save_calibration(self.calibration, folder / _CALIBRATION)
            with replace_file(folder / _ABOUT) as place:
                place.write_text(json.dumps(dict(self.about), indent=1) + "\n", encoding="utf-8")


def fitted_place(trained: Trained, request: ScoreRequest) -> Path | None:
    """Where what was fitted is, or is to be: as asked, or beside the model's weights."""
    if request.fitted is not None:
        return Path(request.fitted).expanduser()
    path = Path(trained.name).expanduser()
    if path.is_dir():
        return path / "normal"
    return path.with_name(f"{path.stem}.normal") if path.is_file() else None


def load_normal(folder: str | Path) -> Normal:
    """Read what `Normal.save` wrote.

    Raises:
        CheckpointError: a file is missing, damaged or foreign.
    """
    folder = Path(folder)
    try:
        about = dict(json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{folder} does not hold what is normal for a model; make it with ‹fit=True›"
        ) from error
    if not (folder / _COMPONENTS).exists():
        raise CheckpointError(
            f"{folder} was fitted by an earlier version, without principal components; fit again"
            " with ‹fit=True›"
        )
    return Normal(
        typical=Typical(
            load_typicality(folder / _TYPICALITY), load_components(folder / _COMPONENTS)
        ),
        calibration=load_calibration(folder / _CALIBRATION),
        about=about,
    )


def fit_normal(
    trained: Trained,
    request: ScoreRequest,
    data: DataRequest,
    *,
    reading: Progress | None = None,
    progress: Progress | None = None,
) -> Normal:
    """Fit what is normal on the pictures of the training, or on ``request.normal``.

    At most 4,096 pictures are taken to fit on and 16,384 for p-values, evenly spread.

    Args:
        trained: the model.
        request: on which pictures, and how they are scored.
        data: what belongs to normal pictures that the request names.
        reading: called with how many pictures are read, and of how many.
        progress: called with how many pictures are scored, and of how many.

    Raises:
        UsageError: there are no such pictures, or too few.
    """
    first, second, words = _normal_pictures(trained, request, data, reading)
    if min(len(first[1]), len(second[1])) < _FEWEST:
        raise UsageError(
            f"of {words} there are {len(first[1])} to fit on and {len(second[1])} for p-values;"
            f" at least {_FEWEST} of each are needed: give more as ‹normal›"
        )
    total, done = len(first[1]) + len(second[1]), 0

    def splits(stream: Stream, names: Collection[str]) -> Iterator[Split]:
        nonlocal done
        for part in stream.only(names):
            if part.split is None:
                raise UsageError(f"a normal picture cannot be used: {part.reason}")
            yield part.split
            done += len(part.names)
            if progress is not None:
                progress(min(done, total), total)

    reduced = ReducedImages(trained.distribution.levels)

    def batches() -> Iterator[tuple[Tensor, Values]]:
        for split in splits(*first):
            batch = batch_of(trained, split, classes=request.classes)
            reduced.add(batch.x)
            yield batch.x, batch.values

    typical = Typical(fit_typicality(trained.distribution, batches()), reduced.fitted())
    found = []
    for split in splits(*second):
        seen = seen_in_training(trained, split)
        if new := [row for row, name in enumerate(seen) if name != "train"]:
            part = subset(split, np.array(new))
            found.append(measured(trained, part, request, typical=typical))
    columns = {
        name: np.concatenate([one.columns[name] for one in found] or [np.zeros(0)])
        for name in CALIBRATED
    }
    if len(columns["z"]) < _FEWEST:
        raise UsageError(
            f"{words} were trained on, so that their scores say nothing of new pictures; give"
            " others as ‹normal›"
        )
    about = {
        "model": trained.digest,
        "pictures": words,
        "fitted_on": typical.hidden.images,
        "calibrated_on": len(columns["z"]),
        "sizes": {
            side: [min(lengths), max(lengths)]
            for side, lengths in zip(
                ("height", "width"),
                zip(*(one.x.shape[2:] for one in found), strict=True),
                strict=True,
            )
        },
        "scores": hashlib.sha256(b"".join(one.tobytes() for one in columns.values())).hexdigest(),
        **how_scored(request),
    }
    return Normal(typical=typical, calibration=calibrate(columns), about=about)


def _normal_pictures(
    trained: Trained, request: ScoreRequest, data: DataRequest, reading: Progress | None
) -> tuple[tuple[Stream, set[str]], tuple[Stream, set[str]], str]:
    """The pictures to fit on and those for p-values, each with the names that are taken; words."""
    if request.normal is not None:
        stream = stream_of(trained, replace(data, data=request.normal), reading=reading)
        halves = stream.names[::2], stream.names[1::2]
        return (
            (stream, _spread(halves[0], _MOST_FITTED)),
            (stream, _spread(halves[1], _MOST_CALIBRATED)),
            str(request.normal),
        )
    parts = []
    for own, most in (
        (DataRequest(split="train", embedding=data.embedding), _MOST_FITTED),
        (DataRequest(split="valid", embedding=data.embedding), _MOST_CALIBRATED),
    ):
        try:
            stream = stream_of(trained, own, reading=reading)
        except UsageError as error:
            raise UsageError(
                f"{error.sentence.split(';')[0]}; give normal pictures as ‹normal›"
            ) from error
        parts.append((stream, _spread(stream.names, most)))
    return parts[0], parts[1], "the training and validation pictures"


def _is_outside(row: Mapping[str, Any], sizes: Mapping[str, Sequence[int]]) -> bool:
    """Whether a picture that has scores is smaller or larger than given (least, most) sides."""
    return not row["reason"] and any(
        not least <= row[side] <= most for side, (least, most) in sizes.items()
    )


def _spread(names: Sequence[str], most: int) -> set[str]:
    """Evenly spread names."""
    step = max(1.0, len(names) / most)
    return {names[int(k * step)] for k in range(min(len(names), most))}
