"""nextpixel decompress: the pictures of an archive, exactly as they were."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import SHORT_OUT, Device
from nextpixel.cli.words import images_words
from nextpixel.settings.codec import DecompressConfig

__all__ = ["ArchiveModel", "decompress"]

ArchiveModel = Annotated[
    str | None,
    Parameter(
        help="The model that compressed the pictures, if it is not where the archive says: a run"
        " folder, a checkpoint, or the name of a pretrained model."
    ),
]


def decompress(
    archive: Path,
    /,
    *,
    out: Annotated[Path, SHORT_OUT, Parameter(help="The folder to restore them to.")],
    model: ArchiveModel = None,
    config: Given[DecompressConfig] = Given(),  # noqa: B008
    device: Device = "auto",
) -> None:
    """Restore the pictures of an archive.

    Parameters
    ----------
    archive
        An archive of `nextpixel compress`.
    """
    from nextpixel.inference.archives import decompress_pictures

    with counted_bar("Restoring") as progress:
        written = decompress_pictures(
            archive,
            out,
            DecompressConfig(**config.values()),
            model=model,
            device=device,
            progress=progress,
        )
    print(f"{images_words(len(written))} restored: {out}")
