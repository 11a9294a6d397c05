"""nextpixel info: what a checkpoint says about itself."""

import json as json_format
from collections.abc import Callable
from typing import Any

from nextpixel.cli.readers import Json, Model
from nextpixel.cli.words import preparation_words

__all__ = ["info"]

# A stranger's card may hold hundreds of thousands of names, which take minutes to lay out.
_MOST_ITEMS, _MOST_LETTERS = 200, 2_000


def info(model: Model, *, json: Json = False) -> None:
    """Describe a checkpoint: its model, data and training.

    The weights are checked against the SHA-256 that the checkpoint states.
    """
    from rich.table import Table
    from rich.text import Text

    from nextpixel.cli.terminal import console
    from nextpixel.inference.trained import describe_checkpoint

    found = describe_checkpoint(model).to_json()
    if json:
        print(json_format.dumps(found))
        return
    found |= {name: words(found[name]) for name, words in _WORDS.items() if name in found}
    if found["weights_sha256"] is None:
        found["weights_sha256"] = "none: written by version 0.1.0, so damage cannot be ruled out"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _first(list(found.items())):
        if isinstance(value, dict):
            shown = "\n".join(_short(f"{k} = {v}") for k, v in _first(list(value.items())))
        elif isinstance(value, list):
            shown = ", ".join(_short(str(item)) for item in _first(value))
        else:
            shown = f"{value:,}" if isinstance(value, int) else _short(str(value))
        if isinstance(value, dict | list) and len(value) > _MOST_ITEMS:
            shown += f" … and {len(value) - _MOST_ITEMS:,} more: see --json"
        table.add_row(Text(_short(name), style="bold"), Text(shown))
    console().print(table)
    if len(found) > _MOST_ITEMS:
        print(f"… and {len(found) - _MOST_ITEMS:,} more entries: see --json")


def _digest_words(digest: Any) -> str:
    """How many images a digest is of; their fingerprints are for programs."""
    parts = [(name, digest.get(name)) for name in ("train", "valid", "test")]
    counts = ", ".join(f"{p.get('images')} {name}" for name, p in parts if isinstance(p, dict))
    return f"fingerprints of the images: {counts}; see --json"


def _ancestor_words(ancestors: Any) -> list[str]:
    return [
        f"{one['name']}, after {one['step'] or 0:,} updates, weights {one['weights_sha256']}"
        for one in ancestors
    ]


def _given(values: Any) -> Any:
    """The fields of a record that are not empty, with numbers of six digits."""
    if isinstance(values, dict):
        return {name: _given(value) for name, value in values.items() if value is not None}
    return float(f"{values:.6g}") if isinstance(values, float) else values


_WORDS: dict[str, Callable[[Any], Any]] = {
    "source": _given,
    "training": _given,
    "preparation": preparation_words,
    "digest": _digest_words,
    "ancestors_digest": _digest_words,
    "ancestors": _ancestor_words,
}
"""How fields of the card are shown that are records."""


def _first(items: list[Any]) -> list[Any]:
    return items[:_MOST_ITEMS]


def _short(text: str) -> str:
    from nextpixel.cli.terminal import printable

    cut = text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS] + " …"
    return printable(cut)
