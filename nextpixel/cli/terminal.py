r"""The border of the terminal: what others wrote is shown, and never obeyed.

Names of files and classes, metadata and errors may hold control characters, which set a terminal's
title, write its clipboard, or hide half of a suggested command. They are shown as ``\x1b``.
"""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["console", "printable", "shown"]


def printable(text: str, *, lines: bool = False) -> str:
    r"""Show unprintable characters as ``\xNN`` or ``\uNNNN``, except line ends if `lines`.

    Example:
        >>> print(printable("a" + chr(27) + "]0;title" + chr(7)))
        a\x1b]0;title\x07
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else _number(ord(c)) for c in text)


@contextmanager
def shown() -> Iterator[None]:
    """Make everything that is printed in this block `printable`, line by line.

    To the streams that it puts in place nothing is a terminal, so that what knows nothing of them
    sends no colours; `console` does.
    """
    with redirect_stdout(_Shown(sys.stdout)), redirect_stderr(_Shown(sys.stderr)):
        yield


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A rich console on the terminal, whose texts are `printable` and hold no markup."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(
        file=stream.stream if isinstance(stream, _Shown) else stream, width=width, markup=False
    )


def _number(code: int) -> str:
    return (
        f"\\x{code:02x}" if code < 2**8 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"
    )


class _Shown(io.TextIOBase):
    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text, lines=True))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return int(self.stream.fileno())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(self.stream.encoding or "utf-8")

    def writable(self) -> bool:
        return True


class _Console(Console):
    """Rich's own control codes pass; the texts of its segments are cleaned."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text, lines=True), style)
