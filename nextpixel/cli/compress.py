"""nextpixel compress: pictures in an archive, without loss."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Model
from nextpixel.cli.terminal import printable
from nextpixel.settings.codec import CompressConfig

__all__ = ["compress"]


def compress(
    *sources: Path,
    model: Model,
    out: Annotated[Path, Parameter(alias="-o")],
    config: Given[CompressConfig] = Given(),  # noqa: B008
    device: Device = "auto",
) -> None:
    """Compress pictures without loss.

    The better the model predicts the pictures, the smaller the archive. Pixels, and metadata of
    PNG files, are restored exactly, on any machine. Other files, such as photographs in JPEG, are
    kept in the archive as they are.

    Parameters
    ----------
    sources
        Pictures, and folders of pictures.
    out
        The archive, such as pictures.npx.
    """
    from nextpixel.inference.archives import compress_pictures

    with counted_bar("Compressing") as progress:
        packed = compress_pictures(
            model,
            sources,
            out,
            CompressConfig(**config.values()),
            device=device,
            progress=progress,
        )
    for reason, names in packed.kept.items():
        print(f"kept as they are, {reason}: {_few(names)}")
    if packed.left_out:
        print(f"left out, no pictures: {_few(packed.left_out)}")
    files = packed.pictures + sum(map(len, packed.kept.values()))
    print(
        f"{files:,} picture{'s' * (files != 1)}, {packed.archive_bytes:,} of"
        f" {packed.source_bytes:,} bytes ({packed.archive_bytes / packed.source_bytes:.0%}): {out}"
    )
    if packed.pictures:
        print(
            f"{packed.pictures:,} coded: {packed.bits_per_dim:.3f} bits/dim,"
            f" {packed.coded_bytes:,} bytes; as PNG {packed.png_bytes:,}"
        )


def _few(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
