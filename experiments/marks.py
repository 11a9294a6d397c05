"""Where the numbers in prose come from.

A comment, which no page shows, stands behind a measured number and names its source: a file of
experiments/results (or the card of a pretrained model), the place in it, and what is done with it,
from left to right.

    79.14<!-- mnist-diagonal-bilstm-small figures.test -->
    1.24<!-- mnist-gated-pixel-cnn-small figures.test - 80.10 -->
    2.964<!-- card:patches test.bits_per_dim -->

Numbers that are not in a file say so:

    80.10<!-- published: arXiv 1611.05013, table 1 -->
    0.01<!-- chosen -->           a setting, a limit or an example; nothing was measured

`check` recomputes all of them. It refuses a number that says nothing if it has a decimal point or
is a share, a time, a ratio or a likelihood (`_UNITS`), unless the word before it shows that nothing
was measured (`_CHOSEN`).
"""

import json
import math
import operator
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from common import RESULTS

from nextpixel.checkpoint import read_card

__all__ = ["check", "plain"]

_NUMBER = r"[−-]?\d[\d,]*(?:\.\d+)?"
_MARK = re.compile(rf"({_NUMBER})(\s?%)?(?:\*\*)?<!-- (?!table |end )(.+?) -->")
_UNITS = r"\s?%|\s(?:times|nats|µs|ms|s|seconds|minutes|hours|images/s)\b"
_MEASURED = re.compile(
    rf"(?<![\w.,/])\d[\d,]*(?:\.\d+(?![\w.]*\w)|(?={_UNITS})|(?= to \d[\d,]*(?:{_UNITS})))"
)
_CHOSEN = re.compile(
    r"(?:\b(?:arXiv|sections?|table|Python|torch|dropout|guidance|rate|BY|License)|log₂)\s+$"
    r"|(?:Python|sections) [\d.]+ (?:to|and) $"
)
_SKIPPED = re.compile(
    r"<!-- table .*?<!-- end -->|```.*?```|`[^`\n]*`|\]\([^)\n]*\)|\$\$.*?\$\$|\$[^$\n]*\$",
    re.DOTALL,
)
_OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def plain(text: str) -> str:
    """The text without code, mathematics, links and generated tables, of the same length."""
    return _SKIPPED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def check(text: str) -> Iterator[str]:
    """What is wrong with the numbers of a page, one sentence each."""
    prose = plain(text)
    for match in _MARK.finditer(prose):
        shown, percent, source = match[1].replace(",", "").replace("−", "-"), match[2], match[3]
        if source.startswith("published: ") or source == "chosen":
            continue
        try:
            value = _value(source) * (100 if percent else 1)
        except (KeyError, IndexError, OSError, ValueError) as error:
            yield f"{_line(text, match)}: {source} is not a place in the results ({error!r})"
            continue
        digits = len(shown.partition(".")[2])
        if not math.isclose(float(shown), value, rel_tol=0, abs_tol=0.5000001 * 10.0**-digits):
            yield f"{_line(text, match)}: {shown} is shown, but {source} is {value:.6g}"
    unmarked = _MARK.sub(lambda match: re.sub(r"\S", " ", match[0]), prose)
    for match in _MEASURED.finditer(unmarked):
        if not _CHOSEN.search(unmarked[: match.start()]):
            yield f"{_line(text, match)}: {match[0]} does not say where it comes from"


def _line(text: str, match: re.Match[str]) -> str:
    return f"line {text.count(chr(10), 0, match.start()) + 1}"


def _value(source: str) -> float:
    """The value of "file place", "file place - 80.10" or "file place / file place"."""
    first, *rest = re.split(r" ([-+*/]) ", source)
    value = _term(first)
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        value = _OPERATIONS[sign](value, _term(term))
    return value


def _term(term: str) -> float:
    name, _, place = term.partition(" ")
    if not place:
        return float(name)
    found: Any = _read(name)
    while place:
        if isinstance(found, list):
            key, _, place = place.partition(".")
            found = found[int(key)]
        else:  # keys may have points of their own, such as "muon 0.01"
            keys = [key for key in found if f"{place}.".startswith(f"{key}.")]
            if not keys:
                raise KeyError(place)
            key = max(keys, key=len)
            found, place = found[key], place[len(key) + 1 :]
    return float(found)


@cache
def _read(name: str) -> Any:
    if name.startswith("card:"):
        return read_card(name.removeprefix("card:")).to_json()
    path = RESULTS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    lines = (RESULTS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
