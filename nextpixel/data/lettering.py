"""Text in pictures, in the font that comes with Pillow, which has few letters beside ASCII."""

import unicodedata
from functools import cache

from PIL import ImageFont

__all__ = ["font", "legible"]

_PLAIN = {"×": "x", "→": "to", "–": "-", "—": "-", "…": "...", "’": "'", "‘": "'", "“": '"'}
_PLAIN |= {"”": '"', "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O"}
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


def _plain(letter: str) -> str:
    if letter in _PLAIN:
        return _PLAIN[letter]
    parts = unicodedata.normalize("NFKD", letter)
    kept = "".join(part for part in parts if not unicodedata.combining(part))
    if kept.isascii() and kept.isprintable():
        return kept
    return letter.encode("unicode_escape").decode("ascii")
