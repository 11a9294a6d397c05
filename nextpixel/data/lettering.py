"""Text in pictures, in the font that comes with Pillow, which has few letters beside ASCII."""

import unicodedata
from functools import cache

from PIL import ImageFont

__all__ = ["font", "legible", "shortened"]

_PLAIN = {"×": "x", "→": "to", "–": "-", "—": "-", "…": "...", "’": "'", "‘": "'", "“": '"'}
_PLAIN |= {"”": '"', "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
_LONGEST = 200
_PLAIN |= {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "þ": "th", "ı": "i"}


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font, in this size."""
    return ImageFont.load_default(size)


def legible(text: str) -> str:
    r"""A text in letters that the font has: accents are dropped, other letters become numbers.

    Example:
        >>> legible("Größe"), legible("鱼 2")
        ('Grosse', '\\u9c7c 2')
    """
    return "".join(map(_plain, text))


def shortened(text: str, size: int, room: int) -> str:
    """A legible text that is no wider than so many pixels: its end is cut off."""
    letters, shown = font(size), legible(text[:_LONGEST])
    if letters.getlength(shown) <= room:
        return shown
    while shown and letters.getlength(f"{shown}...") > room:
        shown = shown[:-1]
    return f"{shown}..."


def _plain(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    parts = unicodedata.normalize("NFKD", letter)
    kept = "".join(part for part in parts if not unicodedata.combining(part))
    if kept.isascii() and kept.isprintable():
        return kept
    return letter.encode("unicode_escape").decode("ascii")
