"""Labels in the names of files: a regular expression with one group, whose work is bounded.

Python's matcher tries all ways of dividing a name among the repetitions of a pattern: with k of
them in a name of n characters at most (n + 1) · binomial(n + k, k), if no repetition holds another.
So a repeated group is refused, and so is a name for which this number is too large.
"""

import math
import re

from nextpixel.errors import UsageError

__all__ = ["check_pattern", "label_in", "most_trials"]

_MOST_TRIALS = 2 * 10**7
_LONGEST = 200
_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<\w+>|:)?|\{[0-9,]+\}|.", re.DOTALL)


def check_pattern(pattern: str) -> None:
    """Raise UsageError unless a pattern is a regular expression of one group, without nesting.

    Example:
        >>> check_pattern("(.+)_[0-9]+")
        >>> check_pattern("((a+)+)b")
        Traceback (most recent call last):
        nextpixel.errors.UsageError: label_pattern='((a+)+)b' repeats a group; ...
    """
    shown = f"‹label_pattern={pattern!r:.80}›"
    if len(pattern) > _LONGEST:
        raise UsageError(f"{shown} has {len(pattern)} characters; use at most {_LONGEST}")
    tokens = _TOKENS.findall(pattern)
    if any(token == "(?" for token in tokens):
        raise UsageError(f"{shown} has a group that looks around or sets a flag; leave it out")
    for token, following in zip(tokens, tokens[1:], strict=False):
        if token == ")" and following[0] in "*+{":
            raise UsageError(
                f"{shown} repeats a group; repeat single characters or sets of them, such as [a-z]+"
            )
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(f"{shown} is not a regular expression: {error}") from error
    if groups != 1:
        raise UsageError(
            f"{shown} has {groups} groups; put parentheses around the label, such as (.+)_[0-9]+,"
            " and (?: ) around what is grouped for another reason"
        )


def label_in(pattern: str, name: str) -> str | None:
    """The label in a picture's name; None if the pattern is not in it, or the label is empty.

    Args:
        pattern: What `check_pattern` accepts. Where it has a slash, the path below the folder is
            searched, otherwise the name of the file.
        name: The path below the folder.
    """
    searched = name if "/" in pattern else name.rpartition("/")[2]
    if most_trials(pattern, len(searched)) > _MOST_TRIALS:
        raise UsageError(
            f"‹label_pattern={pattern!r:.80}› has too many repetitions for a name as long as"
            f" {searched!r:.80}; use fewer, or sets of characters in place of some"
        )
    found = re.search(pattern, searched)
    return (found[1] or "").strip() or None if found else None


def most_trials(pattern: str, length: int) -> int:
    """At most so many ways there are to match a pattern with a name of some length."""
    tokens = _TOKENS.findall(pattern)
    pairs = list(zip(["", *tokens], tokens, strict=False))
    repeated = sum(
        token in ("*", "+") or (token[0] == "{" and len(token) > 1)
        for before, token in pairs
        if before not in ("*", "+", "?")
    )
    # A choice doubles the ways at most.
    choices = sum(token in ("|", "?") for _, token in pairs)
    return (length + 1) * math.comb(length + repeated, repeated) << choices
