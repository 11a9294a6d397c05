"""nextpixel archive: what is in an archive of compressed pictures, and whether it is intact."""

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from nextpixel.cli.decompress import ArchiveModel
from nextpixel.cli.progress import counted_bar
from nextpixel.cli.readers import Device, Json
from nextpixel.cli.terminal import printable
from nextpixel.cli.words import images_words

__all__ = ["archive"]


def archive(
    action: Literal["list", "verify"],
    file: Path,
    /,
    *,
    model: ArchiveModel = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """List the pictures of an archive, or check that all can be restored.

    Parameters
    ----------
    action
        `list` needs no model. `verify` decodes all pictures and writes nothing.
    file
        An archive of `nextpixel compress`.
    """
    from nextpixel.codec.restore import archive_model, has_model, list_archive
    from nextpixel.inference.archives import verify_pictures

    if action == "verify":
        with counted_bar("Verifying") as progress:
            count = verify_pictures(file, model=model, device=device, progress=progress)
        said = {"archive": str(file), "pictures": count, "intact": True}
        print(json_format.dumps(said) if json else f"{images_words(count)} intact: {file}")
        return
    entries, name = list_archive(file), archive_model(file)
    if json:
        listed = [asdict(entry) for entry in entries]
        said = {"archive": str(file), "model": name, "model_inside": has_model(file)}
        print(json_format.dumps(said | {"pictures": listed}))
        return
    for entry in entries:
        size = "–" if entry.size is None else f"{entry.size[0]}×{entry.size[1]}"
        print(f"{printable(entry.name)}  {size}  {entry.share:,.0f} bytes  {entry.how}")
    by = f", compressed by {printable(name)}" if name else ""
    by = ", with its model" if has_model(file) else by
    print(f"{images_words(len(entries))}, {file.stat().st_size:,} bytes{by}: {file}")
