"""What the help says of an option: its name, its text and its default."""

import ast
import inspect
import textwrap
from dataclasses import MISSING
from typing import Any

__all__ = ["docstrings", "flag", "merged_defaults", "merged_texts", "shown_default"]


def flag(name: str) -> str:
    """A parameter of a function as the command line shows it."""
    return f"--{_RENAMED.get(name, name).strip('_').replace('_', '-')}"


_RENAMED = {"ragged": "crop", "start_from": "from"}
"""Parameters that have no option of their name, and the options that decide them."""


def docstrings(kind: type) -> dict[str, str]:
    """The docstring under each field, on one line."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0].body  # type: ignore[attr-defined]
        for line, following in zip(body, body[1:], strict=False):
            if isinstance(line, ast.AnnAssign) and isinstance(following, ast.Expr):
                text = ast.literal_eval(following.value)
                found[line.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return found


def merged_texts(texts: dict[str, str], members: dict[str, Any]) -> str:
    """What the help says of an option that means different things to different models."""
    same: dict[str, list[str]] = {}
    for label, text in texts.items():
        same.setdefault(text, []).append(label)
    if len(same) == 1 and len(texts) == len(members):
        return next(iter(same))
    return " ".join(f"For {', '.join(labels)}: {text}" for text, labels in same.items())


def merged_defaults(defaults: dict[str, Any]) -> str | None:
    """The default, or those of each model that has one."""
    same: dict[str | None, list[str]] = {}
    for label, default in defaults.items():
        same.setdefault(shown_default(default), []).append(label)
    if len(same) == 1:
        return next(iter(same))
    shown = [f"{text} ({', '.join(labels)})" for text, labels in same.items() if text is not None]
    return ", ".join(shown)


def shown_default(default: Any) -> str | None:
    """A default as the help shows it; None is told in the help text."""
    if default is None or default is MISSING or default == ():
        return None
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
