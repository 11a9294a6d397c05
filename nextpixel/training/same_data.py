"""Whether a run that resumes goes on with the data that it began with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextpixel.data.digest import DataDigest
from nextpixel.errors import UsageError

__all__ = ["check_classes", "digest_to_go_on_with"]


def digest_to_go_on_with(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, other_data: bool
) -> dict[str, Any]:
    """What ``run.json`` says of the digest from now on: images of both, if the data are others.

    Args:
        folder: the run.
        before: what was asked of it, as JSON.
        now: what is asked of it now.
        other_data: whether the user has said that the data may have changed.

    Raises:
        UsageError: the data have changed.
    """
    if before.get("digest") is None or now.get("digest") is None:
        return {}  # version 0.1.0 kept none
    old, new = DataDigest.from_json(before["digest"]), DataDigest.from_json(now["digest"])
    if (difference := old.difference(new)) is None:
        return {}
    if not other_data:
        raise UsageError(
            f"the data of {folder} have changed since the run began: {difference}; give the same"
            " data, or go on with these: ‹other_data=True›"
        )
    return {"digest": new.joined(old).to_json()}


def check_classes(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises UsageError if the classes have other names or another order than in the run."""
    if before.get("classes") is None:
        return
    old, new = list(before["classes"]), list(now["classes"])
    if old != new:
        raise UsageError(
            f"{folder} was run with the classes {', '.join(old) or '(none)'}, but the data have"
            f" {', '.join(new) or 'none'} now; give the same data"
        )
