"""A table of scores: how probable, how surprising and how typical each picture of a source is.

`score_images` is what ``nextpixel score`` does. The scores themselves are those of
`nextpixel.analysis.anomaly`, `typicality` and `calibration`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextpixel.analysis.calibration import images_needed, least_alarm_rate
from nextpixel.arguments import record_of
from nextpixel.conditions.kinds import ClassCondition, of_kind
from nextpixel.data.image_output import check_output
from nextpixel.errors import UsageError
from nextpixel.inference.complexity import check_format
from nextpixel.inference.heat_maps import HeatMaps, strange_sheet
from nextpixel.inference.measuring import (
    CALIBRATED,
    COMBINED,
    WITHIN,
    Measured,
    check_background,
    how_scored,
    how_tabled,
    measured,
    seen_in_training,
)
from nextpixel.inference.normality import Normal, fit_normal, fitted_place, load_normal
from nextpixel.inference.score_table import COLUMNS, ScoreTable
from nextpixel.inference.streaming import Stream, Taken, stream_of
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import ScoreRequest
from nextpixel.settings.source import Annotations
from nextpixel.training.memory import in_memory

__all__ = ["Scored", "normal_of", "score_images"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The scores of the pictures of a source.

    Attributes:
        source: its name.
        rows: a mapping for each picture, sorted as asked, with the names of columns that the table
            has; what does not apply to a picture is None or "".
        columns: the names of the columns, in their order.
        sort: the column by which rows are sorted.
        out: the table.
        normal: what the p-values refer to; None if nothing is fitted.
        alarm_rate: as asked; None for no alarms.
    """

    source: str
    rows: Sequence[dict[str, Any]]
    columns: tuple[str, ...]
    sort: str
    out: Path
    normal: Normal | None = None
    alarm_rate: float | None = None

    @property
    def alarms(self) -> list[str]:
        """The names of the pictures that raise an alarm."""
        return [row["name"] for row in self.rows if row.get("alarm") == "yes"]

    @property
    def failures(self) -> dict[str, str]:
        """The reasons why pictures have no scores, by their names."""
        return {row["name"]: row["reason"] for row in self.rows if row["reason"]}

    @property
    def guarantee(self) -> str:
        """What an alarm means, in one sentence; "" without alarms."""
        rate = self.alarm_rate
        return "" if rate is None or self.normal is None else self.normal.guarantee(rate)

    @property
    def cautions(self) -> list[str]:
        """What to know before p-values and alarms are relied on, in sentences."""
        return [] if self.normal is None else self.normal.cautions(self.rows, self.alarm_rate)


def score_images(
    model: str | Path | Trained,
    request: ScoreRequest = ScoreRequest(),  # noqa: B008  # It is frozen.
    *,
    data: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    device: str | torch.device = "auto",
    reading: Progress | None = None,
    fitting: Progress | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Score the pictures of a source, and write a table with a row for each.

    The table is written while pictures are scored. If it is there already, of the same model and
    options, pictures that it holds are not scored again, unless their files are newer. A picture
    that the model cannot take is a row with the reason. For all columns see the guide *Find
    anomalies*.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        request: how pictures are scored, and what is written.
        data: the pictures; by default the test split of the training data.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: called with how many pictures are read, and of how many, where all are read first.
        fitting: called with how many normal pictures are gone through, and of how many.
        progress: called with how many pictures are scored, and of how many.

    Raises:
        UsageError: the source or a model is not there, the table is another one, or there are too
            few normal pictures for the rate of alarms.
        CheckpointError: a file is damaged.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "flat.npy", np.zeros((2, 28, 28), np.uint8))
        >>> request = ScoreRequest(out=folder / "scores.csv")
        >>> found = score_images("mnist", request, data=DataRequest(data=folder / "flat.npy"))
        >>> [row["name"] for row in found.rows], found.columns[4:7]
        (['0', '1'], ('nats', 'bits_per_dim', 'expected_bits_per_dim'))
    """
    request = record_of("request", request, ScoreRequest)
    data = record_of("data", data, DataRequest)
    maps = _checked_places(request, data)
    trained = open_trained(model, device=device)
    background = None
    if request.background is not None:
        background = open_trained(request.background, device=device)
        check_background(trained, background)
    normal = normal_of(trained, request, data, reading=reading, progress=fitting)
    if request.alarm_rate is not None:
        _check_enough(normal, request.alarm_rate)
    columns = _columns(trained, request, normal, background)
    sort = request.sort or ("p_value" if "p_value" in columns else "anomaly")
    if sort not in columns:
        raise UsageError(f"‹sort={sort}› is no column of this table; use {', '.join(columns)}")
    stream = stream_of(trained, data, reading=reading)
    about = {
        "model": trained.digest,
        "background": None if background is None else background.digest,
        "normal": None if normal is None else dict(normal.about),
        "source": stream.source,
        "split": data.split,
        "pictures": stream.digest,
        "conditions": _conditions(data),
        **how_tabled(request),
    }
    table = ScoreTable(request.out, columns, about)
    # A picture that was changed since is another one.
    done = {name: None for name in table.rows if stream.changed(name) <= table.begun}
    if maps is not None:
        done = {name: None for name in done if maps.has(name)}

    def of(part: Taken) -> Measured:
        assert part.split is not None
        typical = None if normal is None else normal.typical
        return measured(trained, part.split, request, typical=typical, background=background)

    with in_memory(
        "there is not enough memory to score pictures as large as these with this model; use"
        " another ‹device›, or smaller pictures"
    ):
        for part in stream.taken(lambda name: name not in done):
            found = None if part.split is None else of(part)
            table.add(_rows(trained, part, found, normal))
            if maps is not None and found is not None:
                maps.add(part.names, found.x, found.heat, trained.model.levels)
            if progress is not None:
                progress(part.files, len(stream.names))
        rows = table.finish(sort, alarm_rate=request.alarm_rate)
        if request.sheet is not None:
            _draw_sheet(request, stream, rows, of, trained.model.levels, sort)
    return Scored(
        source=stream.source,
        rows=rows,
        columns=columns,
        sort=sort,
        out=Path(request.out),
        normal=normal,
        alarm_rate=request.alarm_rate,
    )


def normal_of(
    trained: Trained,
    request: ScoreRequest,
    data: DataRequest = DataRequest(),  # noqa: B008  # It is frozen.
    *,
    reading: Progress | None = None,
    progress: Progress | None = None,
) -> Normal | None:
    """What is normal for a model: fitted and kept if that is asked, else what was fitted before.

    None if nothing was fitted, unless a file of it is asked for.

    Raises:
        UsageError: as `fit_normal`; or it was fitted for another model, or with other options.
    """
    place = fitted_place(trained, request)
    if request.fit:
        if place is None:
            raise UsageError(
                f"{trained.name} is no file or folder, so that nothing is kept beside it; say where"
                " as ‹fitted›"
            )
        normal = fit_normal(trained, request, data, reading=reading, progress=progress)
        normal.save(place)
        return normal
    if place is None or (request.fitted is None and not place.exists()):
        return None
    normal = load_normal(place)
    if normal.about.get("model") != trained.digest:
        raise UsageError(f"{place} was fitted for another model; fit again with ‹fit=True›")
    if missing := [name for name in CALIBRATED if name not in normal.calibration.scores]:
        raise UsageError(f"{place} lacks the scores ‹{missing[0]}›; fit again with ‹fit=True›")
    for name, value in how_scored(request).items():
        if normal.about.get(name) != value:
            raise UsageError(
                f"{place} was fitted with ‹{name}={normal.about.get(name)}›, not with"
                f" ‹{name}={value}›; give the same, or fit again with ‹fit=True›"
            )
    return normal


def _conditions(data: DataRequest) -> dict[str, str] | None:
    """The files that belong to the pictures, by option; None without any."""
    given = {f.name: getattr(data, f.name) for f in fields(Annotations)}
    return {name: str(value) for name, value in given.items() if value is not None} or None


def _checked_places(request: ScoreRequest, data: DataRequest) -> HeatMaps | None:
    """The folder for heat maps, after a look at whether everything can be written."""
    check_output(request.out, (".csv", ".parquet"))
    check_format(request.complexity)
    if request.sheet is not None:
        check_output(request.sheet, (".png",), option="sheet")
    if request.maps is None:
        return None
    if data.data is not None:
        source, maps = (Path(place).expanduser().resolve() for place in (data.data, request.maps))
        if source.is_dir() and maps.is_relative_to(source):
            raise UsageError(
                f"‹maps={request.maps}› lies in the folder of pictures, {data.data}; give a folder"
                " elsewhere"
            )
    return HeatMaps(request.maps)


def _check_enough(normal: Normal | None, alarm_rate: float) -> None:
    """Raises UsageError if no picture could raise an alarm at this rate."""
    if normal is None:
        raise UsageError(
            f"‹alarm_rate={alarm_rate:g}› compares with normal pictures, but nothing is fitted for"
            " this model; give ‹fit=True›"
        )
    images, needed = normal.calibration.images, images_needed(alarm_rate)
    if images < needed:
        raise UsageError(
            f"‹alarm_rate={alarm_rate:g}› needs {needed:,} normal pictures that were not trained"
            f" on, but there are {images:,}; give more as ‹normal›, or a rate of at least"
            f" {least_alarm_rate(images):g}"
        )


def _columns(
    trained: Trained, request: ScoreRequest, normal: Normal | None, background: Trained | None
) -> tuple[str, ...]:
    """The columns that apply."""
    left_out = set()
    if normal is None:
        left_out |= {"typicality", "residual", "quantile", "p_value"}
        left_out |= {f"p_{name}" for name in COMBINED}
    if background is None:
        left_out.add("ratio_nats")
    if not (request.classes and of_kind(trained.distribution.given_by_data, ClassCondition)):
        left_out |= {"class", "p_class", "p_label"}
    if normal is None or request.alarm_rate is None:
        left_out.add("alarm")
    return tuple(name for name in COLUMNS if name not in left_out)


def _rows(
    trained: Trained, part: Taken, found: Measured | None, normal: Normal | None
) -> list[dict[str, Any]]:
    """A row for each picture."""
    named = list(zip(part.names, part.labels, strict=True))
    if found is None or part.split is None:
        return [{"name": name, "label": label, "reason": part.reason} for name, label in named]
    numbers = dict(found.columns)
    if normal is not None:
        calibration = normal.calibration
        scores = {name: numbers[name] for name in COMBINED}
        numbers["quantile"] = calibration.quantiles("nats", numbers["nats"], within=WITHIN["nats"])
        for name, values in scores.items():
            numbers[f"p_{name}"] = calibration.p_values(name, values, within=WITHIN[name])
        within = {name: WITHIN[name] for name in COMBINED}
        numbers["p_value"] = calibration.combined(scores, COMBINED, within=within)
    del numbers["likely"]  # which is a column already, with another sign
    seen = seen_in_training(trained, part.split)
    rows: list[dict[str, Any]] = []
    for k, (name, label) in enumerate(named):
        row: dict[str, Any] = {"name": name, "label": label, "reason": "", "seen": seen[k]}
        row |= {"height": found.x.shape[2], "width": found.x.shape[3]}
        row |= {column: float(values[k]) for column, values in numbers.items()}
        if found.log_classes is not None:
            row |= _classified(found.log_classes[k], label, trained.card.classes)
        rows.append(row)
    return rows


def _classified(log_p: NDArray[np.float64], label: str, classes: Sequence[str]) -> dict[str, Any]:
    """The most probable class, its probability, and that of the label."""
    names = list(classes) or [str(k) for k in range(len(log_p))]
    best = int(log_p.argmax())
    p_label = float(np.exp(log_p[names.index(label)])) if label in names else None
    return {"class": names[best], "p_class": float(np.exp(log_p[best])), "p_label": p_label}


def _draw_sheet(
    request: ScoreRequest,
    stream: Stream,
    rows: Sequence[dict[str, Any]],
    of: Callable[[Taken], Measured],
    levels: int,
    sort: str,
) -> None:
    """Draw the strangest pictures, which are scored once more for their maps."""
    strangest = [row for row in rows if not row["reason"]][: request.top]
    tiles: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
    for part in stream.only({row["name"] for row in strangest}):
        if part.split is not None:
            found = of(part)
            tiles |= {name: (found.x[k], found.heat[k]) for k, name in enumerate(part.names)}
    shown = [(row, *tiles[row["name"]]) for row in strangest if row["name"] in tiles]
    assert request.sheet is not None
    strange_sheet(request.sheet, shown, levels, sort)
