"""An option has one home: a field is an option, a key of a file, and a keyword."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nextpixel.cli.app import app, main
from nextpixel.cli.helps import shown_default
from nextpixel.cli.options import Given
from nextpixel.errors import UsageError
from nextpixel.settings.choice import DECIDED_BY_DATA, NETWORKS, ModelChoice
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.settings.training import EmbeddingConfig, TrainConfig

# Of each field another value than its default, as a user types it, and as the library gets it.
VALUES: dict[type, dict[str, tuple[str, Any]]] = {
    TrainConfig: {
        "steps": ("7", 7),
        "epochs": ("2", 2),
        "minutes": ("0.5", 0.5),
        "batch_size": ("8", 8),
        "accumulate": ("2", 2),
        "objective": ("density", "density"),
        "optimizer": ("rmsprop", "rmsprop"),
        "learning_rate": ("0.5", 0.5),
        "weight_decay": ("0.1", 0.1),
        "warmup_steps": ("3", 3),
        "schedule": ("constant", "constant"),
        "clip_norm": ("2.5", 2.5),
        "ema_decay": ("0.5", 0.5),
        "precision": ("bf16", "bf16"),
        "recompute": ("true", True),
        "channels_last": ("false", False),
        "crop": ("4", 4),
        "flip": ("true", True),
        "condition_dropout": ("0.25", 0.25),
        "condition_noise": ("1.5", 1.5),
        "value_noise": ("0.25", 0.25),
        "seed": ("9", 9),
        "evaluate_every": ("5", 5),
        "patience": ("6", 6),
    },
    EmbeddingConfig: {
        "steps": ("7", 7),
        "classes": ("3", 3),
        "each": ("5", 5),
        "margin": ("0.5", 0.5),
        "learning_rate": ("0.5", 0.5),
        "weight_decay": ("0.1", 0.1),
        "flip": ("true", True),
        "shift": ("2", 2),
        "seed": ("9", 9),
    },
    Preparation: {
        "size": ("4x5", (4, 5)),
        "levels": ("4", 4),
        "from_levels": ("16", 16),
        "resize": ("nearest", "nearest"),
        "range": ("-1 0.5", (-1.0, 0.5)),
        "offset": ("-7", -7),
        "values": ("-1,0.5,3", (-1, 0.5, 3)),
        "one_hot": ("true", True),
        "missing": ("-9", -9),
        "map_levels": ("512", 512),
        "binarise": ("draw", "draw"),
        "channels": ("3", 3),
        "ignore_labels": ("true", True),
        "text_encoder": ("os:getcwd", "os:getcwd"),
        "validation": ("0.25", 0.25),
        "test": ("12", 12),
        "split_seed": ("9", 9),
        "split_by": ("index", "index"),
        "skip_broken": ("true", True),
        "standardise": ("true", True),
    },
}
HIDDEN = {"ragged", "skip_small", "reading", "attributes", "map_scale"}  # decided by the data
COMMANDS = {TrainConfig: "train", EmbeddingConfig: "embed", Preparation: "train"}
CASES = [(kind, name) for kind, values in VALUES.items() for name in values]
every_field = pytest.mark.parametrize(
    ("kind", "name"), CASES, ids=[f"{kind.__name__}-{name}" for kind, name in CASES]
)


def received(kind: type, tokens: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches the library's one call when a command line is typed."""
    import nextpixel.training.embed
    import nextpixel.training.start

    got: dict[str, Any] = {}

    class Reached(Exception):
        pass

    def called(*arguments: Any, **keywords: Any) -> None:
        got.update(keywords, arguments=arguments)
        raise Reached

    monkeypatch.setattr(nextpixel.training.start, "train_model", called)
    monkeypatch.setattr(nextpixel.training.embed, "learn_embedding", called)
    with pytest.raises(Reached):
        main([COMMANDS[kind], "digits", *tokens])
    if kind is Preparation:
        return dict(got["preparation"])
    (config,) = (value for value in got["arguments"] if isinstance(value, kind))
    return {field.name: getattr(config, field.name) for field in fields(kind)}


def test_every_field_is_tried() -> None:
    for kind, values in VALUES.items():
        hidden = HIDDEN if kind is Preparation else set()
        assert {field.name for field in fields(kind)} - hidden == values.keys()


@every_field
def test_an_option_reaches_the_library(
    kind: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, value = VALUES[kind][name]
    flag = f"--{name.replace('_', '-')}"
    tokens = [flag, *typed.split(" ")]
    if isinstance(value, bool):
        tokens = [flag if value else flag.replace("--", "--no-", 1)]
    got = received(kind, tokens, monkeypatch)
    assert got[name] == value and type(got[name]) is type(value)
    assert received(kind, [], monkeypatch).get(name) != value


@pytest.mark.parametrize(
    ("kind", "name"), [case for case in CASES if case[0] is not EmbeddingConfig]
)
def test_a_file_of_options_reaches_the_library(
    kind: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "text_encoder":
        return  # a file never names code, see test_safety
    typed, value = VALUES[kind][name]
    text = f'"{typed}"' if isinstance(value, str | tuple) else typed
    if name == "range":
        text = str(list(value))
    file = tmp_path / "options.toml"
    file.write_text(f"{name} = {text}\n")
    assert received(kind, ["--config", str(file)], monkeypatch)[name] == value
    assert received(kind, [f"--recipe={file}"], monkeypatch)[name] == value  # its old name


@pytest.mark.parametrize("command", ["train", "embed"])
def test_the_help_shows_every_option_with_its_default(command: str) -> None:
    arguments = {
        name: argument
        for argument in app[command].assemble_argument_collection()
        for name in argument.names
    }
    kinds = {"train": [Source, Preparation, ModelChoice, TrainConfig], "embed": [EmbeddingConfig]}
    for kind in kinds[command]:
        for field in fields(kind):
            if field.name in HIDDEN | {"images", "network"}:
                continue
            argument = arguments[f"--{field.name.replace('_', '-')}"]
            assert argument.parameter.help
            shown = shown_default(field.default)
            assert argument.parameter.show_default == (shown or False)


def test_the_options_of_every_network_are_offered() -> None:
    names = {
        name for argument in app["train"].assemble_argument_collection() for name in argument.names
    }
    for settings in NETWORKS.values():
        for field in fields(settings):
            if field.name not in DECIDED_BY_DATA:
                assert f"--{field.name.replace('_', '-')}" in names


def test_nothing_given_is_empty() -> None:
    assert Given().values() == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale", "999999999"], "must be at most the shorter side"),
        (["--first-kernel-size", "999999999"], "must be at most"),
        (["--layers", "10000", "--features", "16384"], "parameters, too many"),
        (["--batch-size", str(10**12)], "--batch-size 1000000000000 must be at most"),
        (["--minutes", "inf"], "--minutes inf must be more than 0 and finite"),
        (["--minutes", "nan"], "--minutes nan must be more than 0 and finite"),
        (["--validation", "inf"], "--validation inf must be a fraction"),
        (["--steps", "1.5"], "1.5 is not a whole number"),
        (["--steps", "9" * 5000], "is not a whole number"),
    ],
)
def test_absurd_values_are_refused_at_once(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits", "--out", "unused", *words])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and message in said and said.count("\n") == 1
    assert not Path("unused").exists()


def test_options_that_mean_nothing_to_a_model_are_refused() -> None:
    with pytest.raises(UsageError, match="gated= does not apply to model='row-lstm'"):
        ModelChoice(model="row-lstm", network={"gated": True})
    with pytest.raises(UsageError, match="code_size= does not apply"):
        ModelChoice(code_size=3)


@pytest.mark.parametrize("command", ["train", "embed"])
def test_names_of_options_are_words_and_hyphens(command: str) -> None:
    """Also those that say no: each flag has one."""
    for argument in app[command].assemble_argument_collection():
        for name in (*argument.names, *argument.negatives):
            assert re.fullmatch("--[a-z][a-z0-9]*(-[a-z0-9]+)*|-[a-z]", name) or name[0] != "-", (
                name
            )
        if argument.negatives:
            positive = next(name for name in argument.names if name.startswith("--"))
            assert f"--no-{positive[2:]}" in argument.names, positive
