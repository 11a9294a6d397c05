"""What tables are made of."""

import json
from typing import Any

from common import RESULTS


def results(name: str) -> dict[str, Any]:
    """What an experiment has written; FileNotFoundError if it has not run."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plus_minus(difference: dict[str, float]) -> str:
    """Nats with their standard error."""
    return f"{difference['nats']:.1f} ± {difference['standard_error']:.1f}"
