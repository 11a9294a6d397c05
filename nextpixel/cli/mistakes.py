"""What was wrong on the command line, where cyclopts does not say what to do about it."""

import shlex

from cyclopts import (
    Argument,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnusedCliTokensError,
)

__all__ = ["mistake_sentence"]

_NUMBERS: dict[object, str] = {float: "a number", int: "a whole number"}


def mistake_sentence(error: CycloptsError) -> str:
    """A mistake in one sentence; cyclopts' where that is good.

    Args:
        error: what cyclopts raised.
    """
    if isinstance(error, UnusedCliTokensError):
        words = shlex.join(error.unused_tokens or [])
        return f"unexpected: {words}; put a name that holds spaces in quotes"
    if isinstance(error, UnknownCommandError) and (error.unused_tokens or [""])[0].startswith("-"):
        return (
            f"unknown option {(error.unused_tokens or [''])[0][:40]}; before a command there are"
            " --help and --version, and options of a command follow it: nextpixel COMMAND OPTIONS"
        )
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return _missing(error, error.argument)
    if isinstance(error, CoercionError) and error.msg is None and error.token is not None:
        wanted, name = _NUMBERS.get(error.target_type), error.token.keyword
        if wanted is not None and name is not None:
            return f"{name} must be {wanted}, not {error.token.value[:40]!r}"
    return str(error)


def _missing(error: MissingArgumentError, argument: Argument) -> str:
    """An option without a value, or what a command needs and was not given."""
    keywords = [error.keyword, *(token.keyword for token in argument.tokens)]
    if keyword := next(filter(None, keywords), None):
        return f"{keyword} needs a value"
    command, name = " ".join(error.command_chain or ()), argument.name
    if argument.field_info.is_positional:
        name = name.lstrip("-").upper()
    said = " ".join((argument.parameter.help or "").split()).rstrip(".")
    what = f": {said[:1].lower()}{said[1:]}" if said else ""
    return f"{command} needs {name}{what}; see nextpixel {command} --help"
