"""Mistakes of the caller: one sentence that says what was given, what is accepted and what to do.

A sentence names parameters as ‹size›. Python shows them as keywords, ``size=``; another border, such
as the command line, shows them as whatever its users type there.
"""

import re
from collections.abc import Callable

__all__ = ["UsageError"]

_PARAMETER = re.compile("‹([a-z_]+)›")


class UsageError(ValueError):
    """A mistake in the use of a function, in one sentence.

    Args:
        sentence: parameters stand in it as ‹name›.

    Example:
        >>> error = UsageError("the pictures differ in size; give ‹size›")
        >>> str(error), error.shown(lambda name: f"--{name}")
        ('the pictures differ in size; give size=', 'the pictures differ in size; give --size')
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(_PARAMETER.sub(r"\1=", sentence))

    def shown(self, name: Callable[[str], str]) -> str:
        """The sentence with each parameter under the name that `name` gives it."""
        return _PARAMETER.sub(lambda found: name(found[1]), self.sentence)
