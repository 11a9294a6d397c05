"""Mistakes of the caller: one sentence that says what was given, what is accepted and what to do.

A sentence names parameters as ‹size›, or with a value as ‹size=3›. Python shows them as keywords,
``size=`` and ``size=3``; another border, such as the command line, shows them as whatever its users
type there. An interruption by a signal is no mistake, but says as much.
"""

import re
import signal
from collections.abc import Callable

__all__ = ["STOPS", "Interrupted", "UsageError"]

STOPS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)  # Windows has the first two
)
"""The signals that ask to stop: Ctrl-C, an end, a closed terminal, a scheduler's warning."""

_PARAMETER = re.compile("‹([a-z_]+)(?:=([^›]*))?›")


class UsageError(ValueError):
    """A mistake in the use of a function, in one sentence.

    Args:
        sentence: parameters stand in it as ‹name› or ‹name=value›.

    Example:
        >>> error = UsageError("the pictures differ in size; give ‹size›, or ‹ragged=True›")
        >>> str(error)
        'the pictures differ in size; give size=, or ragged=True'
        >>> error.shown(lambda name: f"--{name}")
        'the pictures differ in size; give --size, or --ragged'
        >>> UsageError("‹levels=1› is below 2").shown(lambda name: f"--{name}")
        '--levels 1 is below 2'
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(_PARAMETER.sub(lambda found: f"{found[1]}={found[2] or ''}", sentence))

    def shown(self, name: Callable[[str], str]) -> str:
        """The sentence with each parameter under the name that `name` gives it.

        A value follows after a space, without quotes. A parameter that is True is shown by its name
        alone, one that is False by `name("no_…")`.
        """

        def one(found: re.Match[str]) -> str:
            if found[2] in (None, "True"):
                return name(found[1])
            if found[2] == "False":
                return name(f"no_{found[1]}")
            return f"{name(found[1])} {found[2].strip(chr(39))}"

        return _PARAMETER.sub(one, self.sentence)


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop: Ctrl-C, a closed terminal, a scheduler.

    Args:
        sentence: what was saved, and how to go on.
        number: of the signal.
    """

    def __init__(self, sentence: str, number: int) -> None:
        self.number = number
        super().__init__(sentence)
