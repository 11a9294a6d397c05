"""nextpixel info: what a checkpoint says about itself."""

import json as json_format

__all__ = ["info"]


def info(model: str, *, json: bool = False) -> None:
    """What a checkpoint is, and how it was trained.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    json
        Print one JSON object.
    """
    from rich.table import Table
    from rich.text import Text

    from nextpixel.checkpoint import load, read_metadata
    from nextpixel.cli.terminal import console, printable

    metadata = read_metadata(model)
    metadata["parameters"] = sum(p.numel() for p in load(model).parameters())
    if json:
        print(json_format.dumps(metadata))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in metadata.items():
        if isinstance(value, dict):
            shown = "\n".join(printable(f"{k} = {v}") for k, v in value.items())
        elif isinstance(value, list):
            shown = ", ".join(printable(str(item)) for item in value)
        else:
            shown = f"{value:,}" if isinstance(value, int) else printable(str(value))
        table.add_row(Text(printable(name), style="bold"), Text(shown))
    console().print(table)
