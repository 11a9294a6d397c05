"""nextpixel data: describe a source of images."""

import json as json_format

from nextpixel.cli.options import Given
from nextpixel.data.preparation import Preparation
from nextpixel.data.source import Source

__all__ = ["data"]


def data(
    source: str,
    /,
    *,
    json: bool = False,
    annotations: Given[Source] = Given(),  # noqa: B008
    preparation: Given[Preparation] = Given(),  # noqa: B008
) -> None:
    """Describe a source of images: sizes, values, classes, splits.

    Parameters
    ----------
    source
        `digits`, an .npz or .npy file, a folder of pictures, one picture, or `hf:NAME`.
    json
        Print one JSON object.
    """
    from rich.table import Table

    from nextpixel.cli.opening import import_encoder
    from nextpixel.cli.progress import counted_bar
    from nextpixel.cli.terminal import console, printable
    from nextpixel.cli.words import note_lines
    from nextpixel.data.load import describe, histogram_bits_per_dim, load_data

    given = preparation.values()
    named = given.get("text_encoder")
    with counted_bar("Reading") as progress:
        pictures = load_data(
            Source(source, **annotations.values()),
            Preparation(**{"ragged": "size" not in given} | given),
            text_encoder=None if named is None else import_encoder(named),
            progress=progress,
        )
    figures = describe(pictures)
    if pictures.shape is not None:
        figures["histogram_bits_per_dim"] = histogram_bits_per_dim(pictures)
    if json:
        print(json_format.dumps(figures))
        return
    size = "sizes differ" if pictures.shape is None else f"{pictures.shape[0]}×{pictures.shape[1]}"
    plural = "s" * (pictures.channels > 1)
    print(
        f"{printable(str(pictures.source))}: {size}, {pictures.channels} channel{plural}, {pictures.levels} levels"
    )
    for line in note_lines(pictures.notes):
        print(line)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("split", "images", "smallest", "largest", "values", "mean"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, split in figures["splits"].items():
        if split["images"]:
            sizes = ["×".join(map(str, split[key])) for key in ("smallest", "largest")]
            values = f"{split['lowest']}–{split['highest']}"
            table.add_row(name, f"{split['images']:,}", *sizes, values, f"{split['mean']:.1f}")
    console().print(table)
    if pictures.classes:
        counts = figures["splits"]["train"]["classes"]
        print(
            f"{len(pictures.classes)} classes: "
            + ", ".join(f"{printable(name)} {count}" for name, count in counts.items())
        )
    print(f"bits/dim to beat: uniform {figures['uniform_bits_per_dim']:.2f}", end="")
    print(f", one histogram {figures['entropy_bits_per_dim']:.2f}", end="")
    print(
        f", a histogram per pixel {figures['histogram_bits_per_dim']:.2f}" if pictures.shape else ""
    )
    if figures["test_seen_in_train"]:
        print(f"{figures['test_seen_in_train']} test images are also in the training split")
