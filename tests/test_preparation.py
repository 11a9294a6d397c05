"""Sources and preparations: their checks, and that their records are read back as they were."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextpixel.errors import UsageError
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.recorded import recorded
from nextpixel.settings.source import Source

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
SIDES = st.integers(1, 65536)
AMOUNTS = st.floats(0, 1, exclude_max=True) | st.integers(0, 10**9)
SOURCES = st.fixed_dictionaries(
    {"images": NAMES},
    optional=dict.fromkeys(("labels", "vectors", "captions", "maps", "embedding"), NAMES),
)
PREPARATIONS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.just("auto") | SIDES | st.tuples(SIDES, SIDES),
        "levels": st.just(2),
        "from_levels": st.integers(2, 65536),
        "binarise": st.sampled_from(["threshold", "draw"]),
        "channels": st.integers(1, 9),
        "ignore_labels": st.booleans(),
        "text_encoder": NAMES | st.lists(st.text(), min_size=1).map(tuple),
        "validation": AMOUNTS,
        "test": AMOUNTS,
        "split_seed": st.integers(0, 2**63 - 1),
        "split_by": st.sampled_from(["content", "index"]),
        "skip_broken": st.booleans(),
        "reading": st.integers(1, 3),
    },
)


@given(SOURCES, PREPARATIONS)
def test_records_are_read_back_as_they_were(own: dict[str, Any], how: dict[str, Any]) -> None:
    source, preparation = Source(**own), Preparation(**how)
    first, second = json.loads(json.dumps([source.to_json(), preparation.to_json()]))
    assert Source.from_json(first) == source
    assert Preparation.from_json(second) == preparation
    assert recorded({"source": first, "preparation": second}) == (source, preparation)


def test_what_a_record_does_not_say_is_as_by_default() -> None:
    """A later version may know more fields than the one that wrote the record."""
    assert Preparation.from_json({}) == Preparation()
    assert Source.from_json({"images": "x"}) == Source("x")
    assert recorded({}) == (None, Preparation())


OF_0_1 = {
    "source": "/home/me/photos",
    "size": [32, 48],
    "levels": 16,
    "from_levels": 256,
    "binarise": None,
    "channels": 3,
    "labels": True,
    "vectors": "/home/me/v.csv",
    "captions": None,
    "text_encoder": ["red", "sea"],
    "embedding": None,
    "maps": None,
    "validation": 100,
    "test": 0.2,
    "seed": 4,
    "ragged": False,
}


def test_records_of_version_0_1() -> None:
    expected = Preparation(
        size=(32, 48),
        levels=16,
        from_levels=256,
        channels=3,
        text_encoder=("red", "sea"),
        validation=100,
        test=0.2,
        split_seed=4,
        split_by="index",
        reading=1,
    )
    assert recorded({"source": "photos", "data": OF_0_1}) == (
        Source("/home/me/photos", vectors="/home/me/v.csv"),
        expected,
    )
    without = OF_0_1 | {"labels": False}
    assert Source.from_json(without).labels is None
    assert Preparation.from_json(without).ignore_labels
    path = OF_0_1 | {"labels": "/home/me/y.npy"}
    assert Source.from_json(path).labels == "/home/me/y.npy"
    assert not Preparation.from_json(path).ignore_labels
    first = {"source": "digits", "seed": 1}  # Early checkpoints lack later keys.
    assert Preparation.from_json(first) == Preparation(split_seed=1, split_by="index", reading=1)


# Both are run without the type checks of the other tests, which would find most of them first.
WRONG = {
    "size": [0, 65537, 99999999, 2.5, True, "big", [], [3], [3, 0], [1, 2, 3], [True, 2], {}, -1],
    "levels": [0, 1, 65537, 2.0, "2", True, [2]],
    "from_levels": [1, 65537, 1e300, "256", []],
    "binarise": ["", "Draw", 1, True, []],
    "channels": [0, -1, 4097, 3.0, "3", True],
    "ignore_labels": [0, 1, None, "no", []],
    "text_encoder": ["", [], [1], {"a": 1}, 3, True, [["a"]]],
    "validation": [float("inf"), float("nan"), -0.1, 2.5, 1e30, True, None, "0.1", []],
    "test": [float("-inf"), float("nan"), -1, 1.5, 2**63, False, None, {}],
    "split_seed": [-1, 2**63, 0.0, None, True, "0"],
    "ragged": [None, 0, "yes"],
    "split_by": ["", "Index", 1, True, []],
    "skip_broken": [None, 0, "yes"],
    "skip_small": [None, 1, []],
    "standardise": [None, 0, "yes"],
    "map_scale": ["", [], [1.0], [0.0, -1.0], [0.0, float("nan")], 3],
    "attributes": ["", [], [1], ["a", "a"], {}, 3],
    "reading": [0, 4, None, True, "1"],
    "resize": ["", "Average", 1, True, []],
    "range": [1, [1], [1, 1], [2, 1], [0, None], "0 1", [0, float("inf")], [True, 2]],
    "offset": [0.5, "1", True, 1e300, []],
    "values": ["", "1,2", [1], [1, True], [1, None], 3, [float("nan"), 1]],
    "one_hot": ["yes", 2, []],
    "missing": ["", "NaN", True, [], float("inf")],
    "map_levels": [1, 65537, 2.0, "2", True],
}
WRONG_SOURCES = {
    name: [1, True, "", "a\0b", ["x"], {}] + [None] * (name == "images")
    for name in (field.name for field in fields(Source))
}


def unchecked(script: str, argument: object) -> list[str]:
    """The lines that a script prints about an argument, run without type checks."""
    command = [sys.executable, "-c", script]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, input=json.dumps(argument), capture_output=True, text=True, cwd=root
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_wrong_value_is_refused_by_name() -> None:
    """By the constructor and by the reader of records, in one sentence."""
    script = """
import json, sys
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.source import Source
from nextpixel.errors import UsageError
given = json.load(sys.stdin)
def told(make):
    try:
        return f"accepted as {make()}"
    except UsageError as error:
        return str(error)
for kind, own, wrong in ((Preparation, {}, given[0]), (Source, {"images": "x"}, given[1])):
    for name, values in wrong.items():
        for value in values:
            direct = told(lambda: kind(**own | {name: value}))
            read = told(lambda: kind.from_json(own | {name: value}))
            assert "\\n" not in direct + read
            print(name, repr(direct), repr(read), sep="\\t")
"""
    lines = [line.split("\t") for line in unchecked(script, [WRONG, WRONG_SOURCES])]
    assert len(lines) == sum(map(len, [*WRONG.values(), *WRONG_SOURCES.values()]))
    for name, direct, read in lines:
        named = "the source " if name == "images" else f"{name}="  # an argument without a name
        assert named in direct and "must be" in direct, direct
        assert "is damaged: " in read and named in read, read


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "x",
        3,
        {"cache_folder": "/tmp/evil"},
        {"memory_bytes": 0},
        {"images": "x", "cache_folder": "/tmp/evil"},
        OF_0_1 | {"cache_folder": "/tmp/evil"},
        {"source": 3},
        {"source": None},
        {"source": "x", "split_seed": 1},
    ],
)
def test_foreign_records_are_refused(record: object) -> None:
    """Among them those that would say where to write."""
    for kind in (Source, Preparation):
        if kind is Preparation and isinstance(record, dict) and "source" in record:
            if record.keys() == {"source"}:
                continue  # It says all that is needed of a preparation: nothing.
        with pytest.raises(UsageError, match="the record of the .* is damaged: ") as caught:
            kind.from_json(record)
        assert "\n" not in str(caught.value) or "ypecheck" in str(caught.value)


def test_combinations_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="binarise=draw gives 2 levels, but levels=4 was given"):
        Preparation(binarise="draw", levels=4)
    with pytest.raises(UsageError, match="give one of the two"):
        Preparation(size="auto", ragged=True)


def test_values_have_one_form() -> None:
    assert Preparation(size=7) == Preparation(size=(7, 7))
    assert Preparation(validation=3.0) == Preparation(validation=3)
    assert isinstance(Preparation(validation=3.0).validation, int)


def test_a_path_is_never_the_name_of_a_source(tmp_path: Path) -> None:
    assert Source(Path("digits")).images == "./digits" and Source("digits").images == "digits"
    assert Source(Path("a/b")).images == "a/b" and Source(tmp_path).images == str(tmp_path)


def test_what_is_missing_is_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "v.csv").touch()
    source = Source("photos", vectors="v.csv", maps="maps")
    monkeypatch.chdir(tmp_path)
    assert source.missing == "maps" and Source("photos", vectors="v.csv").missing is None
    monkeypatch.chdir("photos")
    assert source.missing == "photos"
    assert Source("digits").missing is None and Source("hf:mnist").missing is None
