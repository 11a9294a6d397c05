"""The command line: parses, calls one function, prints. Commands are loaded when they are called,
torch even later.
"""

import os
import re
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from cyclopts.config import Dict

from nextpixel import __version__
from nextpixel.cli import terminal
from nextpixel.cli.options import flag
from nextpixel.cli.recipe_file import read_recipe
from nextpixel.errors import UsageError

__all__ = ["app", "main"]

app = App(
    name="nextpixel",
    help="Exact probability models of images: train, evaluate, sample, complete.",
    version=f"nextpixel {__version__}",
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _name, _help in {
    "train": "Train a model on pictures.",
    "evaluate": "Bits per dimension of a trained model on all of a split.",
    "sample": "Draw pictures from a trained model.",
    "complete": "Fill in hidden parts of pictures, several times each.",
    "embed": "Learn an embedding of labelled pictures by triplets, for portraits.",
    "reconstruct": "Draw pictures that share a picture's code, embedding or class.",
    "interpolate": "Draw a row of pictures from one picture's condition to another's.",
    "info": "What a checkpoint is, and how it was trained.",
    "data": "Describe a source of pictures.",
    "inspect": "What a trained model expects of chosen pixels, and how far it looks.",
    "information": "What a model's condition is worth, in bits and as a classifier.",
    "reproduce": "Train and evaluate what a row of the papers' tables reports.",
    "check": (
        "What a model leaks, what of the past it never sees, and whether its probabilities sum to"
        " one."
    ),
}.items():
    app.command(f"nextpixel.cli.{_name}:{_name}", name=_name, help=_help)


# Portraits are what `reconstruct` draws given embeddings; by that name they are found.
app.command(
    "nextpixel.cli.reconstruct:reconstruct", name="portraits", help="The same as reconstruct."
)


# Errors name the keywords of Python functions; on the command line they are options.
_OPTIONS = {
    f"{name}=": f"--{name.replace('_', '-')}"
    for name in ("size", "levels", "from_levels", "channels", "crop")
}
_OPTIONS |= {"labels=False": "--ignore-labels", "ragged=True": "--crop"}
_KEYWORD = re.compile("|".join(rf"\b{re.escape(word)}(?![^\s,;)])" for word in _OPTIONS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake in its use ends in one line and exit code 2."""
    with terminal.shown():
        _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(tokens: list[str]) -> None:
    try:
        if tokens[:1] == ["train"]:
            recipe = _recipe(tokens)
            app["train"].config = (
                Dict(read_recipe(recipe, tokens), source=recipe, use_commands_as_keys=False)
                if recipe
                else ()
            )
        app(
            tokens,
            exit_on_error=False,
            console=terminal.console(),
            error_console=terminal.console(stderr=True),
        )
    except CycloptsError:  # already printed
        sys.exit(2)
    except BrokenPipeError:  # whoever read our output, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, UsageError):
            text = error.shown(lambda name: "--crop" if name == "ragged" else flag(name))
        else:
            text = _KEYWORD.sub(lambda match: _OPTIONS[match.group()], str(error))
        if isinstance(error, OSError) and error.filename and error.strerror:
            text = f"{error.filename}: {error.strerror}"
        print(f"nextpixel: {' '.join(text.split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"nextpixel: {stop or 'stopped'}", file=sys.stderr)
        sys.exit(130)


def _recipe(tokens: Sequence[str]) -> str | None:
    """The file given as --recipe: it must be known before the other flags are parsed, as they go
    over it.
    """
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "--recipe":
            return following
        if token.startswith("--recipe="):
            return token.removeprefix("--recipe=")
    return None
