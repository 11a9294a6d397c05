"""What a user asks of scores: which pictures, compared with what, and what to make of them.

Each field is an option of ``nextpixel score``, see `nextpixel.settings.requests`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from nextpixel.arguments import is_number, shown
from nextpixel.errors import UsageError
from nextpixel.settings.requests import DataRequest, check_at_least

__all__ = ["Column", "FileFormat", "ScoreRequest", "ScoredData"]

Column: TypeAlias = Literal[
    "name",
    "nats",
    "bits_per_dim",
    "z",
    "anomaly",
    "typicality",
    "residual",
    "p_value",
    "complexity_bits",
    "ratio_nats",
    "p_label",
]
"""The columns that a table may be sorted by."""

FileFormat: TypeAlias = Literal["png", "jpeg-xl"]
"""The formats whose size tells how complex a picture is."""

_ENDINGS = (".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class ScoredData(DataRequest):
    """Which pictures to score. Maps have another name here, as heat maps are called --maps."""

    condition_maps: str | Path | None = None
    """For a model that is conditioned on maps: those of the pictures, an ``.npy`` file in their
    order, or a folder of pictures of the same names."""

    def __post_init__(self) -> None:
        if self.condition_maps is not None:
            object.__setattr__(self, "maps", self.condition_maps)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """How to score pictures, and what to make of the scores."""

    out: str | Path = "scores.csv"
    """The table: a ``.csv`` file, or a ``.parquet`` file, which needs pyarrow. An unfinished table
    is continued: pictures that it holds are not scored again."""

    sort: Column | None = None
    """The column by which the table is sorted, with the strangest pictures first. By default the
    p-value, or the anomaly score where nothing is fitted."""

    fit: bool = False
    """Fit what is normal before scoring: typical hidden features and principal components on the
    training pictures, p-values on the validation pictures. The result is kept in --fitted."""

    fitted: str | Path | None = None
    """The folder of what --fit finds. By default ``normal`` in the run folder, or ``NAME.normal``
    beside a checkpoint, which is used if it exists."""

    normal: str | Path | None = None
    """Fit on these normal pictures, which the model was not trained on, instead of its training and
    validation pictures: on half of them the features, on half the p-values."""

    alarm_rate: float | None = None
    """Raise an alarm for pictures whose p-value is at most this share: in expectation, at most this
    share of normal pictures raises one. It needs at least 1 / rate - 1 normal pictures that were
    not trained on, and 5 / rate - 1 for each score alone to be able to raise one."""

    fail_on_alarm: bool = False
    """Exit with code 1 if a picture raised an alarm."""

    background: str | Path | None = None
    """Another model, for the likelihood ratio: a run folder, a checkpoint, or the name of a
    pretrained model."""

    complexity: FileFormat = "png"
    """The file format whose size is subtracted in complexity_bits. JPEG XL needs imagecodecs: pip
    install 'nextpixel[codec-baselines]'."""

    classes: bool = True
    """Compute p(class | picture), for a class-conditional model, which takes a pass for each class.
    Pictures are scored given their most probable class; without this, given an unknown class."""

    mirrored: bool = False
    """Also score each picture from right to left: its mirror image, for a model trained with
    ``--flip``, or the order top-right, for a model trained with it. It takes twice as long, and
    also shows what lies right of a defect."""

    maps: str | Path | None = None
    """A folder for a heat map of each picture. Colours mean the same z in all maps of all runs."""

    top: int = 50
    """The number of the strangest pictures that --sheet shows."""

    sheet: str | Path | None = None
    """A ``.png`` of the strangest pictures, each with its heat map."""

    def __post_init__(self) -> None:
        check_at_least(1, top=self.top)
        if self.sort is not None and self.sort not in get_args(Column):
            raise UsageError(
                f"‹sort={shown(self.sort)}› must be one of {', '.join(get_args(Column))}"
            )
        if self.complexity not in get_args(FileFormat):
            raise UsageError(
                f"‹complexity={shown(self.complexity)}› must be one of"
                f" {', '.join(get_args(FileFormat))}"
            )
        if Path(self.out).suffix not in _ENDINGS:
            raise UsageError(f"‹out={self.out}› must end in {' or '.join(_ENDINGS)}")
        if self.sheet is not None and Path(self.sheet).suffix != ".png":
            raise UsageError(f"‹sheet={self.sheet}› must end in .png")
        rate = self.alarm_rate
        if rate is not None and not (is_number(rate) and 0 < rate < 1):
            raise UsageError(f"‹alarm_rate={shown(rate)}› must be between 0 and 1")
        if self.fail_on_alarm and rate is None:
            raise UsageError("‹fail_on_alarm› needs an ‹alarm_rate›, such as 0.01")
        if self.normal is not None and not self.fit:
            raise UsageError("‹normal› says what to fit on; give ‹fit› too")
