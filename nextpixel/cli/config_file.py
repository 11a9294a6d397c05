"""Options of `nextpixel train` from a file, which somebody else may have written.

A file chooses data, model and training. It never names code, never reaches the network, and
writes only below the working folder: each of these needs the command line, where the user says it.
"""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["read_config"]

_CODE = {"textencoder"}
_MOST_BYTES = 2**14
_WRITTEN = {"out": "--out", "resume": "--resume"}


def read_config(path: str, tokens: Sequence[str]) -> dict[str, Any]:
    """Read the options of a TOML file.

    Args:
        path: The file.
        tokens: The command line, whose options go over those of the file.

    Raises:
        ValueError: If the file is not a TOML file, or sets what only the command line may set.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path} is not a regular file; give a TOML file")
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:  # dotted keys take the square of their length to read
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        options = tomllib.loads(text.decode())
        leaves = list(_leaves(options))
    except (ValueError, RecursionError) as error:  # of these are syntax, coding and long numbers
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    said = {token.partition("=")[0] for token in tokens}
    values = {token.partition("=")[2] for token in tokens if token.startswith("--")} | set(tokens)
    for keys, value in leaves:
        names = {"".join(filter(str.isalnum, key)).lower() for key in keys}
        shown = ".".join(keys)
        if names & _CODE:
            raise ValueError(
                f"{path} sets {shown}, which names code to run; remove that line, and give"
                " --text-encoder on the command line if you trust it"
            )
        for name in names & _WRITTEN.keys():
            if _WRITTEN[name] not in said and not _is_below_working_folder(value):
                raise ValueError(
                    f"{path} sets {shown} to {value}, outside the working folder; give"
                    f" {_WRITTEN[name]} on the command line if you want that"
                )
        if _is_remote(value) and value not in values:
            raise ValueError(
                f"{path} sets {shown} to {value}, which is not on this machine; give it on the"
                " command line if you want that"
            )
    return options


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
