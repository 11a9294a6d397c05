"""Grids that are no photographs: what their numbers mean, and that they come back as they were."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from borders import data_of_splits, split_of_arrays
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from test_data import assert_same

from nextpixel import Preparation, Source, load_data
from nextpixel.cli.app import main
from nextpixel.data.again import load_again
from nextpixel.data.errors import DataError
from nextpixel.data.kinds import kind_of, order_matters
from nextpixel.data.splits import ImageData
from nextpixel.data.values import stored_values
from nextpixel.errors import UsageError
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.build import build_model
from nextpixel.training.defaults import with_head, with_kind

RNG = np.random.default_rng(0)
ALL: dict[str, Any] = {"validation": 0, "test": 0, "split_by": "index"}


def loaded(path: Path, x: Any, **options: Any) -> ImageData:
    np.save(path / "x.npy", x)
    return load_data(path / "x.npy", Preparation(**{**ALL, **options}))


def back(data: ImageData) -> np.ndarray:
    return stored_values(np.asarray(data.train.images), data.preparation)


def refused(path: Path, x: Any, match: str, **options: Any) -> None:
    with pytest.raises(UsageError, match=match) as caught:
        loaded(path, x, **options)
    assert "\n" not in str(caught.value)


# --- arrays are kept as they are ---


@pytest.mark.parametrize(
    ("shape", "dtype", "top"),
    [((14, 112), np.uint8, 13), ((88, 64), bool, 2), ((128, 128), np.uint8, 256)],
)
def test_an_array_is_not_resized_by_itself(
    tmp_path: Path, shape: tuple[int, int], dtype: type, top: int
) -> None:
    x = RNG.integers(0, top, (4, *shape)).astype(dtype)
    data = loaded(tmp_path, x, size="auto")
    np.testing.assert_array_equal(data.train.images[:, 0], x)
    # Nor is other data of another size, but a picture is.
    other = loaded(tmp_path, x[:, :14], **vars_of(data.preparation))
    assert other.shape == (14, shape[1])
    old = loaded(tmp_path, x.astype(np.uint8), size="auto", reading=2)
    assert old.shape == {14: (14, 14)}.get(shape[0], (32, 32))


def vars_of(preparation: Preparation) -> dict[str, Any]:
    return preparation.to_json() | {"size": preparation.size}


@pytest.mark.parametrize(
    "x",
    [
        RNG.integers(0, 13, (4, 9, 9), dtype=np.uint8),
        RNG.integers(0, 2, (4, 9, 9)).astype(bool),
        np.array([11, 21, 90], np.uint8)[RNG.integers(0, 3, (4, 9, 9))],
        np.array([-1, 1], np.int8)[RNG.integers(0, 2, (4, 9, 9))],
        RNG.integers(0, 512, (4, 9, 9)),
    ],
    ids=["tiles", "booleans", "land cover", "spins", "codes"],
)
def test_categories_and_binary_values_are_never_averaged(tmp_path: Path, x: np.ndarray) -> None:
    data = loaded(tmp_path, x, size=3)
    np.testing.assert_array_equal(back(data)[:, 0], x[:, 1::3, 1::3])
    assert data.preparation.resize == "nearest"
    assert_same(load_data(data.source, data.preparation), data)


# --- recognised, and said ---


@pytest.mark.parametrize(
    ("x", "options", "levels", "said"),
    [
        (RNG.integers(0, 13, (9, 8, 8), dtype=np.uint8), {}, 13, "‹from_levels=256›"),
        (RNG.integers(0, 13, (9, 8, 8), dtype=np.uint8), {"from_levels": 256}, 256, ""),
        (RNG.integers(0, 17, (9, 8, 8), dtype=np.uint8), {"levels": 4}, 4, "‹from_levels=256›"),
        (255 * RNG.integers(0, 2, (9, 8, 8), dtype=np.uint8), {}, 2, "‹from_levels=256›"),
        (2 * RNG.integers(0, 2, (9, 8, 8)) - 1, {}, 2, "binary: the only values are -1 and 1"),
        (
            2 * RNG.integers(0, 3, (9, 8, 8)),
            {},
            5,
            "5 levels; if they are categories, give ‹values=0,2,4›",
        ),
        (RNG.integers(-1, 2, (9, 8, 8)), {"values": (-1, 0, 1)}, 3, ""),
        (RNG.integers(-1, 2, (9, 8, 8)), {"values": "auto"}, 3, "the 3 values -1,0,1"),
        (np.array([11, 21, 90], np.uint8)[RNG.integers(0, 3, (9, 8, 8))], {}, 256, "11,21,90"),
        (np.array([90, 7, 30])[RNG.integers(0, 3, (9, 8, 8))], {"values": (90, 7, 30)}, 3, ""),
        (RNG.integers(-9, 90, (9, 8, 8), dtype=np.int16), {"offset": 10}, 100, ""),
        (RNG.integers(0, 9, (9, 8, 8)).astype(np.float32), {}, 9, "whole numbers"),
        (RNG.random((9, 8, 8)).astype("f4").round(1), {"range": (0, 1), "levels": 11}, 11, ""),
    ],
)
def test_values_are_recognised_and_come_back(
    tmp_path: Path, x: np.ndarray, options: dict[str, Any], levels: int, said: str
) -> None:
    data = loaded(tmp_path, x, **options)
    assert data.levels == levels
    assert said in " ".join(data.notes) and bool(data.notes) == bool(said)
    if data.preparation.from_levels == data.preparation.levels:
        np.testing.assert_array_equal(back(data)[:, 0], x)
    again = Preparation.from_json(json.loads(json.dumps(data.preparation.to_json())))
    assert again == data.preparation
    assert_same(load_data(data.source, again), data)


@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
@pytest.mark.parametrize("last", [True, False])
def test_one_hot_arrays_are_categories(tmp_path: Path, kind: type, last: bool) -> None:
    categories = RNG.integers(0, 9, (6, 4, 7))  # more categories than rows
    x = np.eye(9, dtype=kind)[categories]
    data = loaded(tmp_path, x if last else np.moveaxis(x, 3, 1))
    assert (data.levels, data.channels, data.shape) == (9, 1, (4, 7))
    assert "one-hot" in data.notes[0] and "‹one_hot=False›" in data.notes[0]
    np.testing.assert_array_equal(data.train.images[:, 0], categories)
    np.testing.assert_array_equal(back(data), np.moveaxis(x, 3, 1))
    assert_same(load_data(data.source, data.preparation), data)
    kept = loaded(tmp_path, np.moveaxis(x, 3, 1), one_hot=False)
    assert (kept.levels, kept.channels) == (2, 9)
    x[0, 0, 0] = 0
    refused(tmp_path, np.moveaxis(x, 3, 1), "not every pixel is 1", one_hot=True)
    assert loaded(tmp_path, np.moveaxis(x, 3, 1), channels=9).levels == 2


def test_bytes_over_255_come_through_and_a_range_is_kept(tmp_path: Path) -> None:
    bytes_ = np.resize(np.arange(256, dtype=np.uint8), (2, 16, 16))
    for divided in (bytes_.astype(np.float32) / 255, bytes_ / 255):
        data = loaded(tmp_path, divided, range=(0, 1))
        np.testing.assert_array_equal(data.train.images[:, 0], bytes_)
        np.testing.assert_array_equal(back(data)[:, 0], divided.astype(np.float32))
    refused(
        tmp_path,
        divided,
        r"252 of 512 values, from 0.509804 to 1, are not from 0 to 0.508; give",
        range=(0, 0.508),
    )
    refused(tmp_path, divided, r"floats from 0 to 1, .*range=0 1 and levels=256")
    refused(tmp_path, bytes_, "range= is for floats", range=(0, 1))


def test_missing_values_are_one_more_level_only_on_request(tmp_path: Path) -> None:
    x = RNG.integers(0, 5, (6, 4, 4)).astype(np.float32)
    x[0, 1, 2] = np.nan
    refused(tmp_path, x, r"1 of 96 values are not numbers \(NaN\); give missing=nan")
    data = loaded(tmp_path, x, missing="nan")
    assert (data.levels, data.preparation.levels) == (6, 5) and data.train.images[0, 0, 1, 2] == 5
    np.testing.assert_array_equal(back(data)[:, 0], x)
    assert_same(load_data(data.source, data.preparation), data)
    marked = np.where(np.isnan(x), 255, x).astype(np.uint8)
    data = loaded(tmp_path, marked, missing=255)
    assert data.levels == 6 and back(data).dtype == np.uint8
    np.testing.assert_array_equal(back(data)[:, 0], marked)
    brightness = RNG.integers(0, 256, (6, 4, 4), dtype=np.uint8)
    data = loaded(tmp_path, brightness, missing=0, levels=8, size=2)
    assert data.levels == 9 and data.preparation.resize == "nearest"
    assert data.notes[-1] == "missing values have no average: the nearest pixel is taken"
    expected = np.where(brightness == 0, 8, brightness // 32)[:, 1::2, 1::2]
    np.testing.assert_array_equal(data.train.images[:, 0], expected)


@pytest.mark.parametrize(
    ("x", "options", "match"),
    [
        (RNG.integers(-2, 3, (4, 4, 4)), {}, "give offset=2 or more.*or values=-2,-1,0,1,2"),
        (RNG.integers(-99, 3000, (4, 9, 9)), {}, "levels begin at 0; give offset="),
        (RNG.integers(-2, 3, (4, 4, 4)), {"offset": 1}, "offset=1 leaves negative.* at least 2"),
        (
            RNG.integers(-2, 3, (4, 4, 4)),
            {"values": (-2, -1, 0, 1)},
            "not in the table -2,-1,0,1; name",
        ),
        (np.full((4, 4, 4), np.inf), {}, "infinite"),
        (RNG.integers(0, 9, (4, 4, 4)), {"values": (1, 2), "levels": 3}, "cannot reduce"),
        (RNG.integers(0, 9, (4, 4, 4)), {"values": "auto", "offset": 1}, "give one of them"),
        (RNG.integers(0, 9, (4, 4, 4)), {"missing": "nan", "resize": "average"}, "missing= does"),
        (np.arange(4 * 33 * 33).reshape(4, 33, 33), {"values": "auto"}, "more than 4096 distinct"),
        (np.zeros((4, 4, 4), complex), {}, "complex128, but numbers"),
    ],
)
def test_what_has_no_meaning_is_refused(
    tmp_path: Path, x: np.ndarray, options: dict[str, Any], match: str
) -> None:
    refused(tmp_path, x, match, **options)


def test_other_data_must_have_the_values_of_the_model(tmp_path: Path) -> None:
    data = loaded(tmp_path, 2 * RNG.integers(0, 2, (9, 8, 8)) - 1)
    np.save(tmp_path / "other.npy", RNG.integers(-1, 2, (9, 8, 8)))
    with pytest.raises(DataError, match="0, are not in the table -1,1; name them in values="):
        load_data(tmp_path / "other.npy", data.preparation)
    with pytest.raises(DataError, match="table -1,1; the model takes images of the values -1,1"):
        load_again(Source(tmp_path / "other.npy"), data.preparation)
    for options, takes in (
        ({"one_hot": True, "from_levels": 13, "levels": 13}, "13 one-hot channels$"),
        (
            {"range": (0, 1), "from_levels": 9, "levels": 9},
            "are integers, but range is for floats;",
        ),
        ({"values": (5, 6), "missing": -1}, "the values 5,6, -1 where values are missing"),
    ):
        with pytest.raises(DataError, match=takes) as caught:
            load_again(Source(tmp_path / "other.npy"), Preparation(**options))
        assert "leave it out" not in str(caught.value)


def test_pictures_of_categories_are_not_averaged(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "set").mkdir()
    x = np.array([11, 21, 90], np.uint8)[RNG.integers(0, 3, (5, 9, 9))]
    for k, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / "set" / f"{k}.png")
    data = load_data(tmp_path / "set", Preparation(values="auto", size=3, **ALL))
    np.testing.assert_array_equal(back(data)[:, 0], x[:, 1::3, 1::3])
    assert data.levels == 3
    assert_same(load_data(data.source, data.preparation), data)
    for options, words in (
        (
            {},
            "90, read as 256 levels; if they are categories, give ‹values=11,21,90›",
        ),
        ({"missing": 90}, "distinct values up to 21"),
        ({"size": 3}, "3 distinct values up to 90"),
        ({"levels": 8}, ""),
    ):
        notes = load_data(tmp_path / "set", Preparation(**ALL, **options)).notes
        assert len(notes) == bool(words) and words in "".join(notes)


def test_pictures_that_are_reduced_unasked_are_mentioned(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "set").mkdir()

    def notes(**options: Any) -> str:
        return "\n".join(load_data(tmp_path / "set", Preparation(**ALL, **options)).notes)

    for k in range(2):
        x = RNG.integers(0, 256, (70, 80), dtype=np.uint8)
        Image.fromarray(x).save(tmp_path / "set" / f"{k}.png")
    words = "pictures of 70x80 are cropped centrally and reduced to 32x32, and "
    more = "‹size=70x80› keeps them, ‹resize=nearest› takes single pixels instead"
    assert notes(size="auto") == f"{words}areas are averaged; {more}"
    nearest = notes(size="auto", resize="nearest")
    assert nearest == f"{words}the nearest pixels are taken; ‹size=70x80› keeps them"
    assert notes(size=(32, 32)) == notes(size=(70, 80)) == ""
    Image.fromarray(x[:, :64]).save(tmp_path / "set/3.png")
    assert notes(size="auto").startswith("pictures of different sizes are cropped")


def test_a_range_that_is_advised_is_accepted(tmp_path: Path) -> None:
    x = np.array([-4.0186946, 0.1234567, 9.9999996, 0.0], np.float32).reshape(1, 2, 2)
    for part in (x, -x, x * 1e3, x / 1e9):
        with pytest.raises(DataError) as caught:
            loaded(tmp_path, part)
        low, high = str(caught.value).split("range=")[1].split(" and ")[0].split()
        assert loaded(tmp_path, part, range=(float(low), float(high))).levels == 256


def test_levels_of_maps_can_be_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.integers(0, 9, (9, 8, 8)))
    np.save(tmp_path / "m.npy", RNG.integers(0, 40, (9, 4, 4)))
    source = Source(tmp_path / "x.npy", maps=tmp_path / "m.npy")
    data = load_data(source, Preparation(map_levels=64, **ALL))
    assert data.map_levels == 64
    assert load_data(source, Preparation(**ALL)).map_levels == 40
    np.save(tmp_path / "m.npy", RNG.integers(0, 40, (9, 4, 4)).clip(min=39))
    assert load_data(source, data.preparation).map_levels == 64
    with pytest.raises(DataError, match="hold 39, which is not below map_levels=8"):
        load_data(source, Preparation(map_levels=8))
    np.save(tmp_path / "m.npy", 2 * RNG.integers(0, 2, (9, 4, 4)) - 1)
    with pytest.raises(DataError, match="maps of .*hold -1 beside other values.*or floats for"):
        load_data(source, Preparation(**ALL))
    np.save(tmp_path / "m.npy", np.arange(9).repeat(16).reshape(9, 4, 4) - 1)
    assert load_data(source, Preparation(**ALL)).map_levels == 8  # the first one is unknown


# --- kinds ---


def test_neighbours_tell_categories_from_brightness(tmp_path: Path) -> None:
    rows, columns = np.indices((40, 40))
    wave = ((np.sin(rows / 7) + np.cos(columns / 5) + 2) * 3.9).astype(np.uint8)
    shuffled = np.random.default_rng(4).permutation(16).astype(np.uint8)[wave]
    assert order_matters([wave[None]]) < 0.4 < 0.9 < order_matters([shuffled[None]])
    assert kind_of(loaded(tmp_path, wave[None]))[0] == "photograph"
    assert kind_of(loaded(tmp_path, shuffled[None]))[0] == "tiles"
    assert kind_of(loaded(tmp_path, 40 * shuffled[None].astype(int)))[0] == "codes"
    assert kind_of(loaded(tmp_path, wave[None] % 2))[0] == "binary"
    assert kind_of(load_data("digits"))[0] == "photograph"


def test_a_kind_sets_defaults_that_options_override(tmp_path: Path) -> None:
    data = loaded(tmp_path, np.eye(40, dtype=np.uint8)[RNG.integers(0, 40, (4, 8, 8))])
    for choice, features in (
        (ModelChoice(), 32),
        (ModelChoice(kind="tiles"), 16),
        (ModelChoice(kind="photograph"), None),
        (ModelChoice(network={"value_features": 3}), 3),
    ):
        model: Any = build_model(data, choice)
        assert model.settings.value_features == features
        assert bool(with_kind(choice, data)[1]) == (choice.kind == "auto")


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    if code:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        assert stop.value.code == code
    else:
        main(list(words))
    out, err = capsys.readouterr()
    return err if code else out


SMALL = "--steps 2 --features 6 --layers 1 --batch-size 4 --evaluate-every 9".split()


def test_from_the_command_line_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("cover.npy", np.array([11, 21, 90], np.uint8)[RNG.integers(0, 3, (20, 9, 12))])
    found = json.loads(run(capsys, "data", "cover.npy", "--json"))
    assert found["levels"] == 256 and "give --values 11,21,90" in found["notes"][0]
    found = json.loads(run(capsys, "data", "cover.npy", "--values", "auto", "--json"))
    assert [found["splits"]["train"][key] for key in ("lowest", "highest")] == [11, 90]
    words = run(capsys, "train", "cover.npy", "--values", "11,21,90", *SMALL, "--out", "run")
    assert "9×12, 1 channel, 3 levels" in words
    assert "chose --kind tiles with --value-features 16, because values come from a table" in words
    run(capsys, "sample", "run", "--n", "2", "--size", "5", "--out", "s.npy")
    assert set(np.load("s.npy").ravel()) <= {11, 21, 90} and np.load("s.npy").dtype == np.uint8
    run(capsys, "complete", "run", "--split", "train", "--n", "2", "--draws", "1", "--out", "c.npy")
    done = np.load("c.npy")
    assert done.shape == (2, 1, 1, 9, 12) and set(done.ravel()) <= {11, 21, 90}
    run(capsys, "evaluate", "run", "--data", "s.npy", "--json")
    note = "note      the files show the 3 levels as brightness from 0 to 255, not the values of"
    assert note in run(capsys, "sample", "run", "--n", "2", "--size", "5", "--out", "s")
    assert note in run(capsys, "complete", "run", "--n", "1", "--draws", "1", "--out", "c")
    np.save("none.npy", RNG.random((4, 8, 8)))
    error = run(capsys, "train", "none.npy", "--out", "none", code=2)
    assert error.count("\n") == 1 and "--range 0 1 and --levels 256" in error
    assert not Path("none").exists()


def test_large_arrays_are_trained_on_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("porous.npy", 255 * RNG.integers(0, 2, (4, 128, 70), dtype=np.uint8))
    options = ["--validation", "0", "--test", "0", *SMALL]
    words = run(capsys, "train", "porous.npy", "--out", "run", *options)
    assert "128×70, 1 channel, 2 levels" in words and "crops of 64" in words
    assert "--crop 64; --size 128x70 trains on whole images" in words
    whole = run(capsys, "train", "porous.npy", "--size", "128x70", "--out", "whole", *options)
    assert "crops of" not in whole


# --- the border ---

NUMBERS = st.sampled_from(
    [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.int64]
) | st.sampled_from([np.float16, np.float32, np.float64, np.uint64, np.complex64])


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_array_comes_back_or_is_refused_in_a_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    dtype = np.dtype(data.draw(NUMBERS))
    shape = data.draw(hn.array_shapes(min_dims=3, max_dims=4, max_side=4))
    x = data.draw(hn.arrays(dtype, shape, elements=hn.from_dtype(dtype, allow_subnormal=False)))
    options = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "values": st.just("auto"),
                "missing": st.sampled_from(["nan", 0, 1]),
                "one_hot": st.booleans(),
            },
        )
    )
    try:
        found = loaded(tmp_path, x, **options)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    assume(found.preparation.levels == found.preparation.from_levels)
    given_back = back(found)
    arranged = x[:, None] if x.ndim == 3 else x
    if given_back.shape != arranged.shape:
        arranged = np.moveaxis(arranged, 3, 1)
    np.testing.assert_array_equal(given_back, arranged)
    assert_same(load_data(found.source, found.preparation), found)


@given(st.data(), st.integers(2, 300))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_level_of_a_range_comes_back(tmp_path: Path, data: st.DataObject, levels: int) -> None:
    low = data.draw(st.floats(-1e3, 1e3))
    high = low + data.draw(st.floats(1e-1, 1e3))
    k = RNG.integers(0, levels, (2, 3, 4))
    x = (low + k * (high - low) / (levels - 1)).clip(low, high)
    found = loaded(tmp_path, x, range=(low, high), levels=levels)
    np.testing.assert_array_equal(found.train.images[:, 0], k)
    np.testing.assert_allclose(back(found)[:, 0], x, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("levels", "channels", "choice", "chosen"),
    [
        (4096, 1, ModelChoice(), True),
        (256, 3, ModelChoice(), True),
        (256, 1, ModelChoice(), False),
        (16, 3, ModelChoice(), False),
        (4096, 1, ModelChoice(network={"head": "softmax"}), False),
        (4096, 1, ModelChoice(kind="codes"), False),
        (4096, 1, ModelChoice(model="pixel-cnn-autoencoder"), False),
    ],
)
def test_a_mixture_is_the_default_for_colours_and_for_many_levels(
    levels: int, channels: int, choice: ModelChoice, chosen: bool
) -> None:
    data = data_of_splits(split_of_arrays(np.zeros((2, channels, 3, 3), np.uint16)), levels=levels)
    choice = replace(choice, kind="photograph" if choice.kind == "auto" else choice.kind)
    found, note = with_head(choice, data)
    assert (found != choice) == bool(note) == chosen
    if chosen:
        assert dict(found.network) == {"head": "logistic", "linear_prediction": True}
        assert ("an output for each of 4,096 levels" in note) == (levels == 4096)
