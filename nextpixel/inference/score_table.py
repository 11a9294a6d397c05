"""The table of scores: written while pictures are scored, gone on with, sorted at the end.

While it grows it is NAME.part, a CSV file to which rows are appended, so that a run that stops
loses at most the pictures that were being scored. NAME.json beside it says what the scores are of:
a table of another model, or with other columns, is refused.
"""

import csv
import io
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextpixel.data.image_output import check_output
from nextpixel.data.storage import optional_package
from nextpixel.errors import UsageError
from nextpixel.files.replacing import replace_file

__all__ = ["COLUMNS", "ScoreTable", "order_of", "shown_row"]

COLUMNS: dict[str, type] = {
    "name": str,
    "label": str,
    "height": int,
    "width": int,
    "nats": float,
    "bits_per_dim": float,
    "expected_bits_per_dim": float,
    "z": float,
    "anomaly": float,
    "typicality": float,
    "residual": float,
    "quantile": float,
    "p_anomaly": float,
    "p_typicality": float,
    "p_likely": float,
    "p_residual": float,
    "p_value": float,
    "complexity_bits": float,
    "ratio_nats": float,
    "class": str,
    "p_class": float,
    "p_label": float,
    "seen": str,
    "alarm": str,
    "reason": str,
}
"""All columns and their types; a table has those that apply, and NaN or "" where one does not."""

_TICK = 10**8
"""Nanoseconds by which the times of files may lag behind the clock."""
_LOWEST_FIRST = ("name", "p_value", "p_label")

Row = dict[str, Any]


class ScoreTable:
    """A table that is being made.

    Attributes:
        rows: those that there are, by the names of their pictures.
        begun: when the oldest of these rows could be written, in nanoseconds since the epoch.

    Args:
        path: the .csv or .parquet file.
        columns: those that apply.
        about: what the scores are of, as JSON; a table about something else is refused.

    Raises:
        UsageError: the table at this place is another one, or no table of scores.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], about: Mapping[str, Any]) -> None:
        self.path = Path(path)
        check_output(self.path, (".csv", ".parquet"))
        if self.path.suffix == ".parquet":
            optional_package("pyarrow.parquet", extra="data")
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._record = self.path.with_name(f"{self.path.name}.json")
        self._columns = tuple(columns)
        self._about = {"format": "nextpixel scores 1", **about, "columns": list(columns)}
        self.rows: dict[str, Row] = {}
        there = [place for place in (self.path, self._part) if place.exists()]
        if there:
            self._check_same(there[0])
            for place in there:
                # A picture that could not be used is tried again.
                self.rows |= {row["name"]: row for row in self._read(place) if not row["reason"]}
        else:
            if self._record.exists() and self._known().get("format") != self._about["format"]:
                raise UsageError(
                    f"{self._record} would be replaced, but is no record of scores; give another"
                    " ‹out›, or move it away"
                )
            with replace_file(self._record) as place:
                place.write_text(json.dumps(self._about, indent=1) + "\n", encoding="utf-8")
        self.begun, self._opened = self._record.stat().st_mtime_ns, time.time_ns() - _TICK

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows, on the disk when this returns."""
        rows = list(rows)
        new = not self._part.exists()
        text = io.StringIO()
        if new:
            _write(text, [self._columns])
        _write(text, ([_cell(row.get(name)) for name in self._columns] for row in rows))
        self.rows |= {row["name"]: row for row in rows}
        with self._part.open("a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())

    def finish(self, sort: str, *, alarm_rate: float | None = None) -> list[Row]:
        """Write the table, sorted with the strangest first, and remove what it grew in.

        Args:
            sort: a column.
            alarm_rate: the highest p-value that raises an alarm; None for no alarms.
        """
        found = order_of(self.rows.values(), sort)
        for row in found if alarm_rate is not None else ():
            p = row.get("p_value")
            row["alarm"] = (
                "" if p is None else "yes" if p <= (alarm_rate or 0) * (1 + 1e-12) else "no"
            )
        with replace_file(self.path) as place:
            if self.path.suffix == ".parquet":
                self._write_parquet(place, found)
            else:
                with place.open("w", encoding="utf-8", newline="") as file:
                    _write(file, [self._columns])
                    _write(file, ([_cell(row.get(n)) for n in self._columns] for row in found))
        self._part.unlink(missing_ok=True)
        os.utime(self._record, ns=(self._opened, self._opened))  # all rows are as new as this
        return found

    def _write_parquet(self, place: Path, rows: Sequence[Row]) -> None:
        arrow = optional_package("pyarrow", extra="data")
        parquet = optional_package("pyarrow.parquet", extra="data")
        kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
        schema = arrow.schema([(name, kinds[COLUMNS[name]]) for name in self._columns])
        columns = {name: [row.get(name) for row in rows] for name in self._columns}
        parquet.write_table(arrow.table(columns, schema=schema), place)

    def _known(self) -> dict[str, Any]:
        """What the file beside the table says; nothing if it is none of ours."""
        try:
            return dict(json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def _check_same(self, place: Path) -> None:
        known = self._known()
        if known.get("format") != self._about["format"]:
            raise UsageError(
                f"{place} exists, but {self._record.name} beside it does not say what its scores"
                " are of; give another ‹out›, or move it away"
            )
        for key, value in self._about.items():
            if (was := known.get(key)) == value or (key == "pictures" and key not in known):
                continue  # tables of earlier versions do not say which pictures
            if key == "columns" and isinstance(was, list):
                differ = sorted(set(map(str, was)) ^ set(self._columns))
                what = f"columns, which differ in {', '.join(differ)}"
            elif key == "pictures":
                what = f"pictures, which {self._about.get('source')} held then"
            else:
                what = f"options: {key} was {_short(was)}, and is {_short(value)}"
            raise UsageError(
                f"{place} was begun with other {what}; give another ‹out›, or move it away"
            )

    def _read(self, place: Path) -> list[Row]:
        """The rows of a table; the last one is left out if it was not written to its end."""
        if place.suffix == ".parquet":
            parquet = optional_package("pyarrow.parquet", extra="data")
            rows: list[Row] = parquet.read_table(place).to_pylist()
            return rows
        text = place.read_bytes().decode("utf-8")  # a name may hold a carriage return
        lines = list(csv.reader(io.StringIO(text, newline="")))
        if lines and (not text.endswith("\n") or len(lines[-1]) != len(self._columns)):
            lines.pop()
            # What follows is appended to whole lines.
            with replace_file(place) as whole, whole.open("w", encoding="utf-8", newline="") as out:
                _write(out, lines)
        if not lines:
            place.unlink()
            return []
        try:
            if tuple(lines[0]) != self._columns:
                raise ValueError("columns")
            return [
                {name: _value(name, cell) for name, cell in zip(lines[0], line, strict=True)}
                for line in lines[1:]
            ]
        except ValueError:
            raise UsageError(
                f"{place} is damaged, or no table of scores; give another ‹out›, or move it away"
            ) from None


def order_of(rows: Iterable[Row], sort: str) -> list[Row]:
    """Rows with the strangest first by a column; those without a value last, by name."""

    def key(row: Row) -> tuple[bool, Any, float, str]:
        value, anomaly = row.get(sort), row.get("anomaly")
        missing = value is None or value != value
        rank = 0.0 if missing else value if sort in _LOWEST_FIRST else -float(value or 0)
        # Many p-values are equal: the anomaly score decides.
        return missing, rank, 0.0 if anomaly is None else -anomaly, row["name"]

    return sorted(rows, key=key)


def shown_row(row: Row, columns: Sequence[str]) -> list[str]:
    """Cells to print."""
    values = (row.get(name) for name in columns)
    return [f"{v:.4g}" if isinstance(v, float) else str(v if v is not None else "") for v in values]


def _write(file: io.TextIOBase, lines: Iterable[Sequence[str]]) -> None:
    """Append lines of cells. A carriage return alone ends a line for most readers, too."""
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for line in lines:
        (quoted if any("\r" in cell for cell in line) else plain).writerow(line)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _value(name: str, cell: str) -> Any:
    kind = COLUMNS[name]
    if kind is str:
        return cell
    return None if cell == "" else kind(cell)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
