"""metrics.jsonl: one JSON object for each logged step and each validation of a run."""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nextpixel.files.fields import CheckpointError, checked, parsed
from nextpixel.files.replacing import replace_file
from nextpixel.training.loop import Step

__all__ = ["METRICS", "append", "lines_of", "read_metrics", "rewrite"]

METRICS = "metrics.jsonl"

_KINDS: dict[str, Any] = {
    "step": int,
    "seconds": float,
    "train_bits_per_dim": float,
    "learning_rate": float,
    "gradient_norm": float,
    "images_per_second": float,
    "valid_bits_per_dim": float,
    "improved": bool,
}

_log = logging.getLogger(__name__)


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The metrics so far. Each line has "step" and "seconds".

    Logged steps also have "train_bits_per_dim" (of one batch, in training mode), "learning_rate",
    "gradient_norm" and "images_per_second"; validations have "valid_bits_per_dim" and "improved".

    A damaged line is skipped with a logged warning. A last line without an end is skipped without
    one: it was being written when the run was killed.
    """
    path = Path(folder).expanduser() / METRICS
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            values = parsed(line, f"line {number} of {path}")
            for name in {"step", "seconds"} | values.keys():
                checked(values.get(name), _KINDS.get(name, Any), f"line {number} of {path}: {name}")
        except CheckpointError as error:
            _log.warning("%s; it is passed over", error)
        else:
            found.append(values)
    return found


def rewrite(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the metrics, atomically."""
    with replace_file(folder / METRICS) as path:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def append(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Appends lines, and waits until they are on the disk; all of them, or none."""
    path = folder / METRICS
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, text)
            while written < len(text):
                written += os.write(descriptor, text[written:])
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, size)
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


def lines_of(step: Step, before: tuple[int, float], batch_size: int) -> list[dict[str, Any]]:
    """The lines to log for a step; `before` is the number and seconds of the last logged one."""
    images_per_second = (step.step - before[0]) * batch_size / max(step.seconds - before[1], 1e-9)
    head = {"step": step.step, "seconds": round(step.seconds, 3)}
    figures = {
        "train_bits_per_dim": step.bits_per_dim,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        "images_per_second": round(images_per_second, 2),
    }
    lines = [head | figures]
    if step.valid_bits_per_dim is not None:
        found = {"valid_bits_per_dim": step.valid_bits_per_dim, "improved": step.improved}
        lines.append(head | found)
    return lines
