"""Boxes that cover some pixels, so far apart that none sees another."""

from collections.abc import Iterator

from torch import Tensor

__all__ = ["boxes", "runs"]


def runs(present: Tensor, apart: int) -> list[range]:
    """Ranges that cover what is present, at least `apart` places from each other."""
    found: list[range] = []
    for place in present.nonzero().flatten().tolist():
        if found and place - found[-1].stop < apart:
            found[-1] = range(found[-1].start, place + 1)
        else:
            found.append(range(place, place + 1))
    return found


def boxes(unknown: Tensor, above: int, beside: int) -> Iterator[tuple[range, range]]:
    """Rows and columns of boxes that cover all unknown pixels (H, W).

    Those of one box are not in the field of another's.
    """
    for rows in runs(unknown.any(dim=1), above):
        band = unknown[rows.start : rows.stop]
        parts = runs(band.any(dim=0), beside)
        if len(parts) == 1:
            yield rows, parts[0]
            continue
        for columns in parts:
            for r, c in boxes(band[:, columns.start : columns.stop], above, beside):
                yield _moved(r, rows.start), _moved(c, columns.start)


def _moved(places: range, by: int) -> range:
    return range(places.start + by, places.stop + by)
