"""Archives of pictures, compressed by a trained model."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from nextpixel.codec.archive import Packed, compress_files
from nextpixel.codec.errors import CodecError
from nextpixel.codec.restore import archive_model, decompress_files, verify_archive
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.conditions.values import Values
from nextpixel.inference.conditions import class_numbers
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.settings.codec import CompressConfig, DecompressConfig

__all__ = ["compress_pictures", "decompress_pictures", "verify_pictures"]

Progress = Callable[[int, int], None]


def compress_pictures(
    model: str | Path | Trained,
    sources: Sequence[str | Path],
    out: str | Path,
    config: CompressConfig = CompressConfig(),  # noqa: B008
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> Packed:
    """Put pictures into an archive: see `codec.archive.compress_files`.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model.
        sources, out, config, progress: as there.
        device: "auto", "cpu", "cuda", "cuda:1" …
    """
    trained = open_trained(model, device=device)
    return compress_files(
        trained.distribution,
        sources,
        out,
        config,
        name=trained.name,
        condition=_condition(trained, config),
        progress=progress,
    )


def _condition(trained: Trained, config: CompressConfig) -> Values:
    """One value of each condition: the class that was asked for, and the rest unknown."""
    if config.class_ is None:
        return ()
    number = class_numbers(trained, config.class_)[0]
    return tuple(
        torch.tensor([number]) if isinstance(part, ClassCondition) else part.unknown(1, (1, 1))
        for part in trained.model.conditions
    )


def decompress_pictures(
    archive: str | Path,
    folder: str | Path,
    config: DecompressConfig = DecompressConfig(),  # noqa: B008
    *,
    model: str | Path | Trained | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> list[Path]:
    """Restore the pictures of an archive: see `codec.restore.decompress_files`.

    Args:
        archive, folder, config, progress: as there.
        model: the one that compressed them; None takes what the archive names.
        device: "auto", "cpu", "cuda", "cuda:1" …
    """
    trained = _named(archive, model, device)
    return decompress_files(trained.distribution, archive, folder, config, progress=progress)


def verify_pictures(
    archive: str | Path,
    *,
    model: str | Path | Trained | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> int:
    """Decode all pictures of an archive: see `codec.restore.verify_archive`."""
    trained = _named(archive, model, device)
    return verify_archive(trained.distribution, archive, progress=progress)


def _named(archive: str | Path, model: str | Path | Trained | None, device: str) -> Trained:
    """The model that was given, or the one that an archive names."""
    if model is not None:
        return open_trained(model, device=device)
    name = archive_model(archive)
    if not name:
        raise CodecError(f"{archive} does not say with which model it was compressed: give ‹model›")
    return open_trained(name, device=device)
