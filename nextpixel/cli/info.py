"""nextpixel info: what a checkpoint says about itself."""

import json as json_format

from nextpixel.cli.readers import Json, Model

__all__ = ["info"]


def info(model: Model, *, json: Json = False) -> None:
    """Describe a checkpoint: its model, data and training.

    The weights are checked against the SHA-256 that the checkpoint states.
    """
    from rich.table import Table
    from rich.text import Text

    from nextpixel.cli.terminal import console, printable
    from nextpixel.inference.trained import describe_checkpoint

    found = describe_checkpoint(model).to_json()
    if json:
        print(json_format.dumps(found))
        return
    if found["weights_sha256"] is None:
        found["weights_sha256"] = "none: written by version 0.1.0, so damage cannot be ruled out"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in found.items():
        if isinstance(value, dict):
            shown = "\n".join(printable(f"{k} = {v}") for k, v in value.items())
        elif isinstance(value, list):
            shown = ", ".join(printable(str(item)) for item in value)
        else:
            shown = f"{value:,}" if isinstance(value, int) else printable(str(value))
        table.add_row(Text(printable(name), style="bold"), Text(shown))
    console().print(table)
