"""nextpixel data: describe a source of images."""

import json as json_format

from nextpixel.cli.helps import flag
from nextpixel.cli.options import Given
from nextpixel.cli.readers import Json
from nextpixel.errors import UsageError
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source

__all__ = ["data"]


def data(
    source: str,
    /,
    *,
    json: Json = False,
    annotations: Given[Source] = Given(),  # noqa: B008
    preparation: Given[Preparation] = Given(),  # noqa: B008
) -> None:
    """Describe a source of images: sizes, values, classes, splits.

    Parameters
    ----------
    source
        A folder, .zip or .tar of pictures, one picture, an .npz, .npy or .h5 file (also
        `file.h5:train/data`), `hf:NAME`, or `digits`.
    """
    from rich.table import Table

    from nextpixel.cli.progress import counted_bar
    from nextpixel.cli.terminal import console, printable
    from nextpixel.cli.words import note_lines
    from nextpixel.data.description import describe_source

    given = preparation.values()
    with counted_bar("Reading") as progress:
        found = describe_source(
            Source(source, **annotations.values()),
            Preparation(**{"ragged": "size" not in given} | given),
            text_encoder=given.get("text_encoder"),
            progress=progress,
        )
    if json:
        notes = [UsageError(note).shown(flag) for note in found["notes"]]
        print(json_format.dumps(found | {"notes": notes}))
        return
    size = "sizes differ" if found["shape"] is None else "{}×{}".format(*found["shape"])
    colours = f"{found['channels']} channel{'s' * (found['channels'] > 1)}"
    print(f"{found['source']}: {size}, {colours}, {found['levels']} levels")
    for line in note_lines(tuple(found["notes"])):
        print(line)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("split", "images", "smallest", "largest", "values", "mean"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, split in found["splits"].items():
        if split["images"]:
            sizes = ["×".join(map(str, split[key])) for key in ("smallest", "largest")]
            values = f"{split['lowest']}–{split['highest']}"
            table.add_row(name, f"{split['images']:,}", *sizes, values, f"{split['mean']:.1f}")
    console().print(table)
    if found["classes"]:
        counts = found["splits"]["train"]["classes"].items()
        shown = ", ".join(f"{printable(name)} {count}" for name, count in counts)
        print(f"{len(found['classes'])} classes: {shown}")
    baselines = [f"uniform {found['uniform_bits_per_dim']:.2f}"]
    baselines.append(f"one histogram {found['entropy_bits_per_dim']:.2f}")
    if "histogram_bits_per_dim" in found:
        baselines.append(f"a histogram per pixel {found['histogram_bits_per_dim']:.2f}")
    print(f"bits/dim to beat: {', '.join(baselines)}")
    if found["test_seen_in_train"]:
        print(f"{found['test_seen_in_train']} test images are also in the training split")
