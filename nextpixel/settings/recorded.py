"""What a checkpoint or a run records of its data."""

from collections.abc import Mapping
from typing import Any

from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = ["recorded"]


def recorded(metadata: Mapping[str, Any]) -> tuple[Source | None, Preparation]:
    """The source and the preparation in the metadata of a checkpoint or in ``run.json``.

    Version 0.1.0 kept both in one record, "data".

    Returns:
        The source, or None if there is no record of it, and the preparation.

    Raises:
        UsageError: If a record is damaged.
    """
    source, preparation = metadata.get("source"), metadata.get("preparation", {})
    if "data" in metadata:
        preparation = metadata["data"]
        source = preparation if "source" in (preparation or {}) else None
    return (
        None if source is None else Source.from_json(source),
        Preparation.from_json(preparation or {}),
    )
