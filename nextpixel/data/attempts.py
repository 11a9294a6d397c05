"""The same work on many pictures in threads, with all that failed named at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from nextpixel.data.errors import DataError, ImageError
from nextpixel.data.storage import Progress

__all__ = ["attempt", "raise_all"]

Result = TypeVar("Result")

_BLOCK = 1024
_NAMED = 20


def attempt(
    action: Callable[[Any], Result],
    items: Sequence[Any],
    pool: ThreadPoolExecutor,
    progress: Progress | None = None,
) -> tuple[list[Result], list[str]]:
    """Do all; give the results of those that succeed, and the sentences of those that fail."""
    results: list[Result] = []
    failures: list[str] = []

    def one(item: Any) -> tuple[Result | None, str | None]:
        try:
            return action(item), None
        except (ImageError, FileNotFoundError) as error:
            return None, str(error)

    for begin in range(0, len(items), _BLOCK):
        for result, failure in pool.map(one, items[begin : begin + _BLOCK]):
            if failure is None:
                results.append(result)  # type: ignore[arg-type]
            else:
                failures.append(failure)
        if progress:
            progress(min(begin + _BLOCK, len(items)), len(items))
    return results, failures


def raise_all(failures: list[str], count: int) -> None:
    """Name the failures in one error, so that many files can be repaired at once."""
    if failures and count == 1:
        raise DataError(failures[0])
    if failures:
        reasons: dict[str, list[str]] = {}
        for failure in failures:
            name, _, reason = failure.partition(": ")
            reasons.setdefault(reason, []).append(name)
        shown = [f"{_named(names)}: {reason}" for reason, names in reasons.items() if reason]
        shown += reasons.get("", [])
        raise DataError(
            f"{len(failures)} of {count} pictures cannot be read: {'; '.join(shown[:_NAMED])}"
            f"{_more(shown)}; or skip them with ‹skip_broken=True›"
        )


def _named(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + _more(names)


def _more(items: list[str]) -> str:
    return f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
