"""Mistakes of the caller: one sentence that says what was given, what is accepted and what to do.

A sentence names parameters as ‹size›, or with a value as ‹size=32›. Python shows them as keywords;
another border, such as the command line, shows them as its users type them.
"""

import re
from collections.abc import Callable

__all__ = ["UsageError"]

_PARAMETER = re.compile("‹([a-z_]+)(?:=([^›]*))?›")


class UsageError(ValueError):
    """A mistake in the use of a function, in one sentence.

    Args:
        sentence: parameters stand in it as ‹name› or ‹name=value›.

    Example:
        >>> error = UsageError("the images differ in size; give ‹size› or ‹crop=16›")
        >>> str(error)
        'the images differ in size; give size= or crop=16'
        >>> error.shown(lambda name: f"--{name}")
        'the images differ in size; give --size or --crop 16'
    """

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(
            _PARAMETER.sub(lambda found: f"{found[1]}={found[2] or ''}", self.sentence)
        )

    def shown(self, name: Callable[[str], str]) -> str:
        """The sentence with each parameter under the name that `name` gives it.

        A value follows after a space, without quotes; `‹flip=False›` is `name("no_flip")`.
        """

        def option(found: re.Match[str]) -> str:
            match found[2]:
                case None | "True":
                    return name(found[1])
                case "False":
                    return name(f"no_{found[1]}")
                case value:
                    return f"{name(found[1])} {value.strip(chr(39))}"

        return _PARAMETER.sub(option, self.sentence)
