"""nextpixel score: which pictures are strange, where, and how sure that is."""

import sys
from typing import TYPE_CHECKING

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Model
from nextpixel.cli.terminal import printable
from nextpixel.cli.words import images_words
from nextpixel.errors import UsageError
from nextpixel.settings.scores import ScoredData, ScoreRequest

if TYPE_CHECKING:
    from nextpixel.inference.drift import Drift
    from nextpixel.inference.scores import Scored

__all__ = ["score"]

_SHOWN = ("name", "p_value", "anomaly", "typicality", "z", "bits_per_dim", "class", "alarm")
_ROWS, _NAMED = 10, 20


def score(
    source: str | None = None,
    *,
    model: Model,
    request: Given[ScoreRequest] = Given(),  # noqa: B008
    data: Given[ScoredData] = Given(),  # noqa: B008
    against: str | None = None,
    device: Device = "auto",
) -> None:
    """Score pictures: find strange ones, show where they are strange, give p-values.

    Writes a table with a row for each picture. A picture that the model cannot score has a row with
    the reason. With `--fail-on-alarm` the exit code is 1 if a picture raises an alarm.

    Parameters
    ----------
    source
        The pictures: any source that `nextpixel train` takes, also a single picture. By default the
        test split of the training data.
    against
        Compare the pictures with this other source: test whether their scores come from
        one distribution. No table is written, and no alarm is raised.
    """
    requested = ScoreRequest(**request.values())
    images = ScoredData(data=source, **data.values())
    if against is not None:
        from nextpixel.inference.drift import compare_sources

        with (
            counted_bar("Reading") as reading,
            counted_bar("Fitting") as fitting,
            counted_bar("Scoring") as progress,
        ):
            compared = compare_sources(
                model,
                against,
                requested,
                data=images,
                device=device,
                reading=reading,
                fitting=fitting,
                progress=progress,
            )
        _print_drift(compared)
        return
    from nextpixel.inference.scores import score_images

    with (
        counted_bar("Reading") as reading,
        counted_bar("Fitting") as fitting,
        counted_bar("Scoring") as progress,
    ):
        found = score_images(
            model,
            requested,
            data=images,
            device=device,
            reading=reading,
            fitting=fitting,
            progress=progress,
        )
    _print_scores(found, requested)
    if len(found.failures) == len(found.rows):
        raise UsageError(f"no picture of {found.source} can be scored; {found.out} has the reasons")
    if requested.fail_on_alarm and found.alarms:
        sys.exit(1)


def _print_scores(found: "Scored", requested: ScoreRequest) -> None:
    from rich.table import Table

    from nextpixel.cli.terminal import console
    from nextpixel.inference.score_table import shown_row

    columns = [name for name in _SHOWN if name in found.columns]
    table = Table()
    for name in columns:
        table.add_column(name, justify="left" if name in ("name", "class", "alarm") else "right")
    scored = [row for row in found.rows if not row["reason"]]
    for row in scored[:_ROWS]:
        table.add_row(*map(printable, shown_row(row, columns)))
    if scored:
        print(f"{printable(found.source)}: the strangest of {images_words(len(scored))}")
        console().print(table)
    for name, reason in list(found.failures.items())[:_NAMED]:
        print(f"not scored: {printable(name)}: {printable(reason)}")
    if (rest := len(found.failures) - _NAMED) > 0:
        print(f"not scored: {rest:,} more")
    if found.normal is not None:
        count = found.normal.calibration.images
        print(f"p-values compare with {count:,} normal pictures that the model was not trained on")
    if found.alarm_rate is not None:
        rate = f"p-value at most {found.alarm_rate:g}"
        print(f"{len(found.alarms):,} of {images_words(len(scored))} raise an alarm ({rate})")
        print(found.guarantee)
    for caution in found.cautions:
        print(caution)
    print(f"table: {found.out}")
    for what, place in (("heat maps", requested.maps), ("strangest", requested.sheet)):
        if place is not None:
            print(f"{what}: {place}")


def _print_drift(found: "Drift") -> None:
    first, second = map(printable, found.sources)
    counts = next(iter(found.columns.values())).counts
    print(f"{first}: {images_words(counts[0])}; {second}: {images_words(counts[1])}")
    for source, failures in zip((first, second), found.failures, strict=True):
        if failures:
            print(f"{images_words(failures)} of {source} cannot be scored")
    for name, one in found.columns.items():
        medians = f"medians {one.medians[0]:.4g} and {one.medians[1]:.4g}"
        print(
            f"  {name}: {medians}, P(first > second) {one.higher:.3f}, Kolmogorov-Smirnov"
            f" {one.distance:.3f}, p = {one.p_value:.4g}"
        )
    print(
        f"p = {found.p_value:.4g} for all of them (permutation test; Bonferroni): were both of one"
        " distribution, a p as small as this had at most this probability"
    )
