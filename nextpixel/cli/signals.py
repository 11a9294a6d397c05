"""Signals that stop a command: one line, no half file, and the exit code 128 + the signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nextpixel.errors import STOPS, Interrupted

__all__ = ["stopped_by_signals"]


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raises `Interrupted` in this block when a signal asks to stop; a second one stops at once.

    So temporary files are removed, whatever the signal. One that is ignored stays so, as under
    nohup.
    """
    before: dict[int, Any] = {}

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(f"stopped by {signal.Signals(number).name}", number)

    if threading.current_thread() is threading.main_thread():  # no other may handle signals
        for number in STOPS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
