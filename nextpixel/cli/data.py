"""nextpixel data: describe a source of images."""

import json as json_format
from pathlib import Path

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
    preview: Path | None = None,
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
    preview
        A `.png` to write: some images of each split as they are stored, and as a model sees them.
    """
    from rich.table import Table

    from nextpixel.cli.progress import counted_bar
    from nextpixel.cli.terminal import console, printable
    from nextpixel.cli.words import note_lines, preparation_words
    from nextpixel.data.description import describe_source
    from nextpixel.data.image_output import check_output

    if preview is not None:
        check_output(preview, (".png",), "preview")
    given = preparation.values()
    with counted_bar("Reading") as progress:
        found = describe_source(
            Source(source, **annotations.values()),
            Preparation(**{"ragged": "size" not in given} | given),
            text_encoder=given.get("text_encoder"),
            preview=preview,
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
    for name, value in preparation_words(found["preparation"]).items():
        print(f"prepared  {name} = {printable(str(value))}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("split", "images", "smallest", "largest", "values", "mean"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for name, split in found["splits"].items():
        if split["images"]:
            sizes = ["×".join(map(str, split[key])) for key in ("smallest", "largest")]
            values = f"{split['lowest']:.6g}–{split['highest']:.6g}"
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
    if preview is not None:
        print(f"preview: {preview}")
    if found["test_seen_in_train"]:
        print(f"{found['test_seen_in_train']} test images are also in the training split")
