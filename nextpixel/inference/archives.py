"""Archives of pictures, compressed by a trained model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nextpixel.arguments import is_number, shown
from nextpixel.codec.archive import Packed, check_new, check_other, compress_files, files_of
from nextpixel.codec.archive import Progress as Packing
from nextpixel.codec.errors import CodecError
from nextpixel.codec.restore import archive_model, decompress_files, needs_model, verify_archive
from nextpixel.codec.survey import Survey, survey, taken_by
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.conditions.values import Values
from nextpixel.devices import pick_device
from nextpixel.errors import UsageError
from nextpixel.files.hub import HUB
from nextpixel.files.locking import one_process
from nextpixel.files.replacing import check_writable, remove_left_over
from nextpixel.inference.conditions import class_numbers
from nextpixel.inference.fitting import fit_model
from nextpixel.inference.trained import Trained, open_trained
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig, DecompressConfig
from nextpixel.training.plan import Progress as Training

__all__ = ["compress_pictures", "decompress_pictures", "verify_pictures"]

Progress = Callable[[int, int], None]


_FOR = {(3, 256): "nextpixel:photographs", (1, 2): "nextpixel:mnist"}
"""The pretrained models by the channels and levels of pictures."""
_LOOKED_AT = 1 << 24
_SHARES = ("//", "\\\\", "\\/", "/\\")
"""What the name of another machine begins with, to which some systems would send a password."""


def compress_pictures(
    model: str | Path | Trained | None,
    sources: Sequence[str | Path],
    out: str | Path,
    config: CompressConfig = CompressConfig(),  # noqa: B008
    *,
    fit: int | float | None = None,
    device: str = "auto",
    progress: Packing | None = None,
    reading: Progress | None = None,
    training: Training | None = None,
) -> Packed:
    """Put pictures into an archive: see `codec.archive.compress_files`.

    Args:
        model: a run folder, a checkpoint, or the name of a pretrained model; None takes the
            pretrained one that can code most of the pictures. The others are kept as they are.
        sources, out, config, progress: as there.
        fit: train a model on the pictures for so many minutes, and put it into the archive; it
            starts from the weights of `model` if that is given. If the archive is smaller without
            it, with `model` or a pretrained one, that is taken and the other dropped. Ctrl-C ends
            the training, not the compression.
        device: "auto", "cpu", "cuda", "cuda:1" …
        reading: with ‹fit›: told how many files have been read, and of how many.
        training: with ‹fit›: wraps the steps of the training, to show them.

    Raises:
        CodecError, UsageError, OSError: as there; also if the pictures are too few for a model of
            their own, no pretrained model takes such pictures, or another process writes the same
            archive.
    """
    out = Path(out)
    check_new(out, config.overwrite)
    check_writable(out)  # not after minutes of training
    with one_process(out):
        remove_left_over(out.parent, out.name)
        if fit is not None:
            return _fitted(model, sources, out, config, fit, device, progress, reading, training)
        trained = open_trained(_default(sources) if model is None else model, device=device)
        return _compressed(trained, sources, out, config, progress)


def _fitted(
    model: str | Path | Trained | None,
    sources: Sequence[str | Path],
    out: Path,
    config: CompressConfig,
    fit: int | float,
    device: str,
    progress: Packing | None,
    reading: Progress | None,
    training: Training | None,
) -> Packed:
    """By a model of the pictures, or by another one if that is smaller."""
    if config.class_ is not None:
        raise UsageError("‹fit› trains a model without classes; leave out ‹class_›")
    if not (is_number(fit) and 0 < fit < math.inf):
        raise UsageError(f"‹fit={shown(fit)}› must be a number of minutes, more than 0")
    files = list(files_of(sources).values())
    check_other(out, files)
    other = None if model is None else open_trained(model, device=device)
    start = None if other is None else other.distribution
    of = None if start is None else (start.channels, start.levels)
    found = survey(files, of=of, progress=reading)
    if other is None and (name := _pretrained(found)) is not None:
        other = open_trained(name, device=device)
    fitted = fit_model(
        found,
        float(fit),
        start_from=start,
        others={} if other is None else {other.name: other.distribution},
        device=device,
        progress=training,
    )
    if fitted.pays or other is None:
        included = replace(config, include_model=True)
        packed = compress_files(fitted.model, sources, out, included, progress=progress)
    else:
        packed = _compressed(other, sources, out, config, progress)
    packed.ended = fitted.ended
    packed.estimates = {"fit": fitted.archive_bytes, **fitted.others}
    return packed


def _compressed(
    trained: Trained,
    sources: Sequence[str | Path],
    out: str | Path,
    config: CompressConfig,
    progress: Packing | None,
) -> Packed:
    return compress_files(
        trained.distribution,
        sources,
        out,
        config,
        name=trained.name,
        condition=_condition(trained, config),
        progress=progress,
    )


def _default(sources: Sequence[str | Path]) -> str:
    """The pretrained model that can code the most bits; the other pictures are kept as they are.

    An archive has one model: see docs/reference/format.md.
    """
    files = list(files_of(sources).values())
    taken = taken_by(files, list(_FOR), most=_LOOKED_AT)
    best = max(taken, key=lambda kind: taken[kind] * math.log2(kind[1]))  # in bits, uncoded
    if taken[best]:
        return _FOR[best]
    found = survey(files, most=_LOOKED_AT)  # raises if no model can code any
    raise CodecError(
        f"no pretrained model takes pictures of channels={found.channels} and"
        f" levels={found.levels}: give ‹model›, or ‹fit=10› trains one for ten minutes"
    )


def _pretrained(found: Survey) -> str | None:
    """The name of the pretrained model for such pictures; RGB ones of few levels have 256, too."""
    return _FOR.get((found.channels, 256 if found.channels == 3 else found.levels))


def _condition(trained: Trained, config: CompressConfig) -> Values:
    """One value of each condition: the class that was asked for, and the rest unknown."""
    if config.class_ is None:
        return ()
    number = class_numbers(trained, config.class_)[0]
    return tuple(
        torch.tensor([number], device="cpu")
        if isinstance(part, ClassCondition)
        else part.unknown(1, (1, 1))
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
        model: the one that compressed them; None takes the one in the archive, or what it names.
        device: "auto", "cpu", "cuda", "cuda:1" …
    """
    place = pick_device(device)
    network = _named(archive, model, device)
    return decompress_files(network, archive, folder, config, device=place, progress=progress)


def verify_pictures(
    archive: str | Path,
    *,
    model: str | Path | Trained | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> int:
    """Decode all pictures of an archive: see `codec.restore.verify_archive`."""
    network = _named(archive, model, device)
    return verify_archive(network, archive, device=pick_device(device), progress=progress)


def _named(
    archive: str | Path, model: str | Path | Trained | None, device: str
) -> ImageModel | None:
    """The model that was given, or the one that an archive names.

    None if it may be inside, or if no picture needs one.
    """
    if model is None:
        model = archive_model(archive)
        if model.startswith((HUB, *_SHARES)):
            raise CodecError(
                f"{archive} names the model {model:.80}, and nothing is fetched because a file says"
                " so: give ‹model› if you trust it"
            )
        if not needs_model(archive):
            return None
    return open_trained(model, device=device).distribution if model else None
