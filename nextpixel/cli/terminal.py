r"""The border of the terminal: what others wrote is shown, and never obeyed.

Names of files and classes, metadata and errors may hold control characters, which set a terminal's
title, write its clipboard, or hide half of a suggested command. They are shown as ``\x1b``, and so
is what the encoding of a terminal or a log does not have. What cannot be written at all, because
the log's disk is full or its reader is gone, is lost: a message never ends the work.
"""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
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
    for number in range(3):  # else the next file that is opened would be the output
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    out, err = _Lossy(sys.stdout), _Lossy(sys.stderr)
    with redirect_stdout(_Shown(out)), redirect_stderr(_Shown(err)):
        try:
            yield
        finally:
            err.close_losses()
            out.close_losses()
    if out.lost is not None:
        # A reader that has enough, such as head, is no fault; a log that misses lines is.
        said = "the output could not be written, and is incomplete"
        print(f"nextpixel: {said}: {out.lost.strerror}", file=_Lossy(sys.stderr), flush=True)
        sys.exit(1)


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A rich console on the terminal, whose texts are `printable` and hold no markup."""
    stream = sys.stderr if stderr else sys.stdout
    file = stream.stream if isinstance(stream, _Shown) else _Lossy(stream)
    return _Console(file=file, width=width, markup=False)  # type: ignore[arg-type]


def _number(code: int) -> str:
    return (
        f"\\x{code:02x}" if code < 2**8 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"
    )


class _Lossy(io.TextIOBase):
    """A stream that loses what it cannot write, and remembers why."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lost: OSError | None = None
        self._is_closed = stream is None  # as Python has it of a closed file descriptor

    def write(self, text: str) -> int:
        if not self._is_closed:
            coding = self.encoding
            shown = text.encode(coding, "backslashreplace").decode(coding)
            self._tried(lambda: self.stream.write(shown))
        return len(text)

    def flush(self) -> None:
        if not self._is_closed:
            self._tried(self.stream.flush)

    def close_losses(self) -> None:
        """Write what is left; if that fails, it goes nowhere, and not to Python's last words."""
        self.flush()
        if self._is_closed and self.stream is not None:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return int(self.stream.fileno())

    def isatty(self) -> bool:
        return not self._is_closed and bool(self.stream.isatty())

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return str(getattr(self.stream, "encoding", None) or "utf-8")

    def writable(self) -> bool:
        return True

    def _tried(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self._is_closed = True
            if not isinstance(error, BrokenPipeError):
                self.lost = error
        except ValueError:  # somebody has closed it
            self._is_closed = True


class _Shown(io.TextIOBase):
    def __init__(self, stream: _Lossy) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text, lines=True))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

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
