"""What tables are made of."""

import json
from typing import Any

import common


def results(name: str) -> dict[str, Any] | None:
    path = common.RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plus_minus(difference: dict[str, float]) -> str:
    """Nats with their standard error."""
    return f"{difference['nats']:.1f} ± {difference['standard_error']:.1f}"
