"""The command line: a command parses, calls one function of the library, and prints.

Commands are loaded when they are called, and torch when they need it.
"""

import re
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
from cyclopts.config import Dict

from nextpixel.cli import terminal
from nextpixel.cli.config_file import check_options, located, read_config
from nextpixel.cli.faults import fault_sentence
from nextpixel.cli.helps import flag, shown_default
from nextpixel.cli.mistakes import mistake_sentence
from nextpixel.cli.signals import stopped_by_signals
from nextpixel.errors import UsageError
from nextpixel.training.allocator import keep_freed_memory
from nextpixel.version import __version__

__all__ = ["app", "main"]

app = App(
    name="nextpixel",
    help="Exact probability models of images: train, sample, complete, score, compress.",
    version=f"nextpixel {__version__}",
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=shown_default),
)
_NAMES = (
    "train",
    "evaluate",
    "sample",
    "complete",
    "embed",
    "reconstruct",
    "interpolate",
    "info",
    "data",
    "score",
    "inspect",
    "condition-worth",
    "export",
    "cache",
    "reproduce",
    "check",
    "compress",
    "decompress",
    "archive",
)
for _name in _NAMES:
    _function = _name.replace("-", "_")
    app.command(f"nextpixel.cli.{_function}:{_function}", name=_name)

_MOST_CHARACTERS = 4000

app.register_install_completion_command(
    help="Install tab completion for this shell: bash, zsh, fish or PowerShell."
)
# Given embeddings, reconstructions are portraits.
app.command(
    "nextpixel.cli.reconstruct:reconstruct", name="portraits", help="The same as reconstruct."
)
# Names of version 0.1, for one version more.
app.command("nextpixel.cli.condition_worth:condition_worth", name="information", show=False)
_ENLARGE = {"--scale": "--enlarge"}
_OLD_OPTIONS = {"train": {"--recipe": "--config"}}
_OLD_OPTIONS |= dict.fromkeys(
    ("sample", "complete", "reconstruct", "portraits", "interpolate"), _ENLARGE
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a mistake in its use ends in one sentence and exit code 2."""
    if arguments is None and sys.argv[1:2] in (["reproduce"], ["train"]):
        keep_freed_memory()  # the process is the command's own
    with terminal.shown(), stopped_by_signals():
        _main(_renamed(list(sys.argv[1:] if arguments is None else arguments)))


def _main(tokens: list[str]) -> None:
    config = _config(tokens) if tokens[:1] == ["train"] else None

    def refuse(sentence: str) -> NoReturn:
        _refuse(sentence if config is None else located(sentence, config, tokens))

    try:
        if tokens[:1] == ["train"]:
            app["train"].config = ()
            if config is not None:
                options = read_config(config, tokens)
                known = [option.name for option in app["train"].assemble_argument_collection()]
                check_options(config, options, known)
                given = Dict(options, source=config, use_commands_as_keys=False)
                app["train"].config = (given,)
        if not tokens or tokens[0].startswith("-"):
            for name in _NAMES:  # the list of commands has the first line of each
                app[name]
        app(
            tokens,
            exit_on_error=False,
            print_error=False,
            console=terminal.console(),
            error_console=terminal.console(stderr=True),
        )
    except UnusedCliTokensError as error:
        _refuse(mistake_sentence(error))
    except CycloptsError as error:
        refuse(mistake_sentence(error))
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        if (sentence := _sentence(error)) is None:
            raise
        refuse(sentence)
    except KeyboardInterrupt as stop:
        print(f"nextpixel: {str(stop) or 'stopped'}", file=sys.stderr)
        sys.exit(128 + getattr(stop, "number", signal.SIGINT))


def _refuse(sentence: str) -> NoReturn:
    said = " ".join(sentence.split())
    if len(said) > 2 * _MOST_CHARACTERS:  # A file may name a million columns; the advice is last.
        said = f"{said[:_MOST_CHARACTERS]} … {said[-_MOST_CHARACTERS:]}"
    print(f"nextpixel: {said}", file=sys.stderr)
    sys.exit(2)


def _sentence(error: Exception) -> str | None:
    """What a user did wrong, with parameters as options; None for a bug of ours."""
    if isinstance(error, UsageError):
        return error.shown(flag)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return "there is not enough memory; use smaller images or a smaller model"
    if isinstance(error, RuntimeError):
        return None
    return fault_sentence(error) if isinstance(error, OSError) else str(error)


_OUT_OF_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory")


def _renamed(tokens: list[str]) -> list[str]:
    """The tokens, with options under their present names."""
    old = _OLD_OPTIONS.get(tokens[0], {}) if tokens else {}
    split = [token.partition("=") for token in tokens]
    return [old.get(name, name) + equals + value for name, equals, value in split]


def _config(tokens: Sequence[str]) -> str | None:
    """The file given as --config, which must be read before the options that override it."""
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "--config":  # nosec B105
            return following
        if token.startswith("--config="):
            return token.removeprefix("--config=")
    return None
