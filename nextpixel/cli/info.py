"""nextpixel info: what a checkpoint says about itself."""

import json as json_format

__all__ = ["info"]


def info(model: str, *, json: bool = False) -> None:
    """Describe a checkpoint: its model, data and training.

    The weights are checked against the SHA-256 that the checkpoint states.

    Parameters
    ----------
    model
        A run folder or a checkpoint.
    json
        Print one JSON object.
    """
    from rich.table import Table
    from rich.text import Text

    from nextpixel.checkpoint import open_checkpoint
    from nextpixel.cli.terminal import console, printable

    network, card = open_checkpoint(model)
    said = card.to_json() | {
        "weights_sha256": card.weights_sha256,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    if json:
        print(json_format.dumps(said))
        return
    if card.weights_sha256 is None:
        said["weights_sha256"] = "none: written by version 0.1.0, so damage cannot be ruled out"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in said.items():
        if isinstance(value, dict):
            shown = "\n".join(printable(f"{k} = {v}") for k, v in value.items())
        elif isinstance(value, list):
            shown = ", ".join(printable(str(item)) for item in value)
        else:
            shown = f"{value:,}" if isinstance(value, int) else printable(str(value))
        table.add_row(Text(printable(name), style="bold"), Text(shown))
    console().print(table)
