"""Options of `nextpixel train` from a file, which somebody else may have written.

A file chooses data, model and training. It never names code, never reaches the network, and
writes only below the working folder: each of these needs the command line, where the user says it.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from nextpixel.cli.helps import flag
from nextpixel.errors import UsageError

__all__ = ["check_options", "located", "read_config"]

_CODE = {"textencoder"}
_MOST_BYTES = 2**14
_WRITTEN = {"out": "--out", "resume": "--resume"}
_KEY = re.compile(r"""[ \t]*\[*[ \t]*["']?([\w-]+)["']?[ \t]*[].=]""")
_SHOWN = 40


def read_config(path: str, tokens: Sequence[str]) -> dict[str, Any]:
    """Read the options of a TOML file.

    Args:
        path: The file.
        tokens: The command line, whose options go over those of the file.

    Raises:
        UsageError: If the file is not a TOML file, or sets what only the command line may set.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise UsageError(f"{path} is not a regular file; give a TOML file")
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:  # dotted keys take the square of their length to read
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        options = tomllib.loads(text.decode())
        leaves = list(_leaves(options))
    except (ValueError, RecursionError) as error:  # of these are syntax, coding and long numbers
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise UsageError(f"{path} is not a TOML file: {reason}") from error
    said = {token.partition("=")[0] for token in tokens}
    values = {token.partition("=")[2] for token in tokens if token.startswith("--")} | set(tokens)
    for keys, value in leaves:
        names = {"".join(filter(str.isalnum, key)).lower() for key in keys}
        shown = ".".join(keys)
        if names & _CODE:
            raise UsageError(
                f"{path} sets {shown}, which names code to run; remove that line, and give"
                " --text-encoder on the command line if you trust it"
            )
        for name in names & _WRITTEN.keys():
            if _WRITTEN[name] not in said and not _is_below_working_folder(value):
                raise UsageError(
                    f"{path} sets {shown} to {value}, outside the working folder; give"
                    f" {_WRITTEN[name]} on the command line if you want that"
                )
        if _is_remote(value) and value not in values:
            raise UsageError(
                f"{path} sets {shown} to {value}, which is not on this machine; give it on the"
                " command line if you want that"
            )
    return options


def check_options(path: str, options: dict[str, Any], known: Collection[str]) -> None:
    """Check that a file of options has known options with values that an option can have.

    Args:
        path: The file.
        options: What `read_config` gives.
        known: The options of the command, such as "--batch-size".

    Raises:
        UsageError: Otherwise; it names the line and the option.
    """
    lines = _lines(path)
    for key, value in options.items():
        name = flag(key)
        place = f"{path}, line {lines[name]}" if name in lines else path
        if isinstance(value, dict):
            raise UsageError(
                f"{place}: [{key:.{_SHOWN}}] is a table, but options stand without one: write"
                " steps = 100, and nothing in brackets above it"
            )
        if name not in known:
            keys = [each.removeprefix("--").replace("-", "_") for each in known]
            near = difflib.get_close_matches(key, keys, 1)
            advice = f"use {near[0]}" if near else "remove it"
            raise UsageError(f"{place}: {key:.{_SHOWN}} is not an option of train; {advice}")
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, str | int | float) or (
                isinstance(item, float) and not math.isfinite(item)
            ):
                shown = json.dumps(item, default=str)
                raise UsageError(
                    f"{place}: {key} is {shown:.{_SHOWN}}, but must be a finite number, a text in"
                    " quotes, true or false"
                )


def located(sentence: str, path: str, tokens: Sequence[str]) -> str:
    """A sentence about a wrong option, with its line if a file of options sets it."""
    said = {token.partition("=")[0] for token in tokens}
    # cyclopts shows an option of a file as [batch_size], everybody else as --batch-size.
    for name in re.findall(r"--[a-z][a-z-]*|\[[a-z][\w-]*\]", sentence):
        name = flag(name.strip("[]-"))
        if name in said:
            return sentence
        if (line := _lines(path).get(name)) is not None:
            return f"{path}, line {line}: {sentence}"
    return sentence


def _lines(path: str) -> dict[str, int]:
    """The line of each option of a file that was read before."""
    lines = Path(path).read_bytes().decode(errors="replace").splitlines()
    found = ((k, _KEY.match(line)) for k, line in enumerate(lines, start=1))
    lines_of: dict[str, int] = {}
    for k, key in found:
        if key is not None:
            lines_of.setdefault(flag(key[1]), k)
    return lines_of


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with the keys that lead to it; an empty table is a value."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _leaves(inner, keys)
    else:
        yield keys, value


def _is_below_working_folder(value: Any) -> bool:
    try:
        places = [Path(str(value)).resolve(), Path(str(value)).expanduser().resolve()]
    except (OSError, RuntimeError, ValueError):
        return False
    return all(place.is_relative_to(Path.cwd().resolve()) for place in places)


def _is_remote(value: Any) -> bool:
    """Tell whether a value names something on the network: hf:NAME, an address, a network share."""
    text = str(value).strip().lower()
    return text.startswith(("hf:", "//", "\\\\", "\\/", "/\\")) or "://" in text
