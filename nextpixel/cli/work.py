"""How much work a command has before it, said when it takes more than two seconds.

The lines go to standard error, so that they are seen in a redirected log too, and stay out of what
a command prints.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from nextpixel.cli.progress import progress_bar
from nextpixel.cli.words import images_words, seconds_words

__all__ = ["announced_bar", "say_evaluation"]

Item = TypeVar("Item")

_WORTH_SAYING = 2.0
_TRIAL_SECONDS = 0.5


def announced_bar(
    description: str,
) -> tuple[Callable[[int], None], Callable[[Iterable[Item], int], Iterator[Item]]]:
    """A progress bar that says first how many sub-pixels there are, and how long they take.

    Returns:
        What is told the number of sub-pixels, and what wraps the iteration. The time is estimated
        from its first half second.
    """
    told: list[int] = []
    bar: Callable[[Iterable[Item], int], Iterator[Item]] = progress_bar(description)

    def wrap(items: Iterable[Item], total: int) -> Iterator[Item]:
        rest, done, started = iter(items), 0, time.monotonic()
        for item in rest:
            yield item
            done += 1
            if (elapsed := time.monotonic() - started) > _TRIAL_SECONDS:
                if (seconds := elapsed / done * total) > _WORTH_SAYING:
                    what = f"{told[-1]:,} sub-pixels" if told else f"{total:,} steps"
                    _say(f"{description}: {what}, about {seconds_words(seconds)}")
                break
        yield from bar(rest, total - done)

    return told.append, wrap


def say_evaluation(images: int, sub_pixels: int, seconds: float) -> None:
    """Says how long an evaluation takes."""
    if seconds > _WORTH_SAYING:
        what = f"{images_words(images)}, {sub_pixels:,} sub-pixels"
        _say(f"Evaluating: {what}, about {seconds_words(seconds)}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
