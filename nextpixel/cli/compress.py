"""nextpixel compress: pictures in an archive, without loss."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextpixel.cli.options import Given
from nextpixel.cli.progress import counted_bar, training_bar
from nextpixel.cli.readers import SHORT_OUT, Device
from nextpixel.cli.terminal import printable
from nextpixel.cli.words import images_words, plan_lines
from nextpixel.settings.codec import CompressConfig

if TYPE_CHECKING:
    from nextpixel.cli.progress import Show
    from nextpixel.codec.archive import Packed
    from nextpixel.training.loop import Step
    from nextpixel.training.start import TrainPlan

__all__ = ["compress"]


def compress(
    *sources: Path,
    model: str | None = None,
    out: Annotated[Path, SHORT_OUT, Parameter(help="The archive, such as pictures.npx.")],
    fit: float | None = None,
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
    model
        A run folder, a checkpoint, or the name of a pretrained model. Default: the pretrained model
        that can code most of the pictures, `photographs` for RGB or `mnist` for black and white;
        the others are kept as they are.
    fit
        Train a model on the pictures for this many minutes, and put it into the archive. With
        `--model`, it starts from that model. Ctrl-C ends the training early. The model is dropped
        if the pretrained one makes a smaller archive.
    """
    from nextpixel.inference.archives import compress_pictures

    with counted_bar("Compressing") as progress, counted_bar("Reading") as reading:
        packed = compress_pictures(
            model,
            sources,
            out,
            CompressConfig(**config.values()),
            fit=fit,
            device=device,
            progress=_rated(progress),
            reading=reading,
            training=_training,
        )
    if packed.ended:
        print(f"the training ended early, with the weights before {packed.ended}")
    for reason, names in packed.kept.items():
        print(f"kept as they are, {reason}: {_few(names)}")
    if packed.left_out:
        print(f"left out, not pictures: {_few(packed.left_out)}")
    if packed.passed_over:
        print(f"left out, hidden or links to others of the folder: {_few(packed.passed_over)}")
    files = packed.pictures + sum(map(len, packed.kept.values()))
    print(
        f"{files:,} picture{'s' * (files != 1)}, {packed.archive_bytes:,} of"
        f" {packed.source_bytes:,} bytes ({packed.archive_bytes / packed.source_bytes:.0%}): {out}"
    )
    if packed.pictures:
        webp = "" if packed.webp_bytes is None else f", as WebP {packed.webp_bytes:,}"
        model_bytes = f" and the model {packed.model_bytes:,}" if packed.model_bytes else ""
        print(
            f"{packed.pictures:,} coded: {packed.bits_per_dim:.3f} bits/dim,"
            f" {packed.coded_bytes:,} bytes{model_bytes}; as PNG {packed.png_bytes:,}{webp}"
        )
    elif files:
        print(
            "the model coded none of the pictures, for the reasons above, so the archive is not"
            " smaller than the files"
        )
    if packed.estimates and packed.pictures:
        print(_verdict(packed))


def _rated(show: "Show") -> "Callable[[int, int, Packed], None]":
    """Shows the size of the archive so far, its bits/dim, and how fast pictures are coded."""
    began = time.monotonic()

    def rated(done: int, total: int, packed: "Packed") -> None:
        nonlocal began
        if not packed.archive_bytes:  # a model may have been trained before
            began = time.monotonic()
        rate = packed.sub_pixels / max(1e-3, time.monotonic() - began) / 1e6
        size = f"{packed.archive_bytes / 1e6:.1f} MB so far"
        bits = f"{packed.bits_per_dim:.2f} bits/dim"
        show(done, total, f"{size}, {bits}, {rate:.2g} MB/s" if packed.sub_pixels else size)

    return rated


def _verdict(packed: "Packed") -> str:
    """Whether the model of the pictures earns its bytes."""
    own = packed.estimates["fit"]
    others = {name: size for name, size in packed.estimates.items() if name != "fit"}
    coded = packed.coded_bytes + packed.model_bytes
    best = min([packed.png_bytes, *([packed.webp_bytes] if packed.webp_bytes else [])])
    if not others:
        said = "pays" if coded < best else "does not pay"
        return f"the model of these pictures {said}; no pretrained model takes such pictures"
    (name, other), *_ = others.items()
    if packed.model_bytes:
        return (
            f"the model of these pictures pays: {printable(name)}, which needs no bytes, would make"
            f" about {coded * other / own:,.0f} bytes of them"
        )
    return (
        f"a model of these pictures does not pay: with its own bytes, it would take about"
        f" {coded * own / other:,.0f}; they are compressed by {printable(name)}"
    )


def _training(plan: "TrainPlan", steps: "Iterator[Step]") -> "Iterator[Step]":
    """Says what is trained, and shows how far it is."""
    print(f"pictures  {images_words(len(plan.data.train))} to train on")
    for line in plan_lines(plan):
        if line.startswith(("model", "training")):
            print(line, flush=True)
    step = None
    for step in training_bar(plan, steps):
        yield step
    if step is not None:  # what follows is silent, and a second Ctrl-C would lose the archive
        print(f"trained   {step.step:,} updates; makes the archive", flush=True)


def _few(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:3])
    return shown + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
