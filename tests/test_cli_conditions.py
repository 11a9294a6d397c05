"""The commands with every kind of condition, as a user would type them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextpixel import load, sample
from nextpixel.checkpoint import read_card
from nextpixel.cli.app import main
from nextpixel.data.image_files import read_image

SMALL = ["--layers", "1", "--features", "8", "--kernel-size", "3", "--quiet"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said
    return said


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    main(arguments)
    return capsys.readouterr().out


def captioned(folder: Path) -> Path:
    """Images by two conditions: a caption names the shade, a map says where it is."""
    shades = np.arange(60) % 3
    maps = (np.arange(60 * 16).reshape(60, 4, 4) % 5 > 2).astype(np.uint8)
    images = (shades[:, None, None] * maps).astype(np.uint8)
    captions = np.array(["black", "dark grey", "light grey"])[shades]
    np.savez(folder / "x.npz", train_images=images, train_captions=captions, train_maps=maps)
    return folder / "x.npz"


@pytest.fixture(scope="module")
def captions(runs: Path) -> str:
    source = str(captioned(runs))
    options = ["--levels", "3", "--steps", "3", "--condition-dropout", "0.2", *SMALL]
    main(["train", source, "--out", str(runs / "captions"), *options])
    return str(runs / "captions")


def test_captions_and_maps(
    captions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "given the vector and the map" in said(["evaluate", captions], capsys)
    assert "the right condition saves" in said(
        ["condition-worth", captions, "--images", "6"], capsys
    )
    out = tmp_path / "s.npy"
    main(
        [
            "sample",
            captions,
            "--caption",
            "light grey",
            "--n",
            "3",
            "--guidance",
            "2",
            "--out",
            str(out),
        ]
    )
    assert np.load(out).shape == (3, 1, 4, 4)
    main(["complete", captions, "--n", "2", "--draws", "2", "--out", str(tmp_path / "c.png")])
    main(["reconstruct", captions, "--n", "2", "--draws", "3", "--out", str(tmp_path / "r.png")])
    assert read_image(tmp_path / "r.png").shape[1:] == (
        2 * 5 + 1,
        4 * 5 + 1,
    )  # a row for each: it, and three draws
    main(["inspect", captions, "--out", str(tmp_path / "inspect")])
    assert "no word of the model; it knows grey" in fails(
        ["sample", captions, "--caption", "blue"], capsys
    )
    assert "not conditioned on classes" in fails(["sample", captions, "--class", "0"], capsys)
    main(
        [
            "interpolate",
            captions,
            "--rows",
            "2",
            "--steps",
            "3",
            "--guidance",
            "1.5",
            "--out",
            str(tmp_path / "i.npy"),
        ]
    )
    assert np.load(tmp_path / "i.npy").shape == (2, 3, 1, 4, 4)  # the map stays


def test_conditions_of_other_pictures(
    captions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of captions and maps takes new pictures with theirs, and no others."""
    arrays = np.load(Path(captions).parent / "x.npz")
    np.save(tmp_path / "new.npy", arrays["train_images"][:9])
    np.save(tmp_path / "maps.npy", arrays["train_maps"][:9].astype(np.int64))
    (tmp_path / "texts.txt").write_text("\n".join(arrays["train_captions"][:9]) + "\n")
    other = ["--data", str(tmp_path / "new.npy"), "--captions", str(tmp_path / "texts.txt")]
    both = [*other, "--maps", str(tmp_path / "maps.npy")]
    figures = json.loads(said(["evaluate", captions, "--json", *both], capsys))
    assert figures["images"] == 9 and figures["split"] == "all"
    main(["reconstruct", captions, "--n", "2", "--out", str(tmp_path / "r.png"), *both])
    main(["complete", captions, "--n", "2", "--out", str(tmp_path / "c.png"), *both])
    main(["condition-worth", captions, "--images", "9", *both])
    options = [
        "--caption",
        "light",
        "--maps",
        str(tmp_path / "maps.npy"),
        "--out",
        str(tmp_path / "s.png"),
    ]
    main(["sample", captions, "--data", str(tmp_path / "new.npy"), "--n", "2", *options])
    assert "new.npy has none; give a file or folder of them as --maps" in fails(
        ["evaluate", captions, *other], capsys
    )
    assert "--captions goes with other images" in fails(["evaluate", captions, *other[2:]], capsys)


def test_resuming_takes_the_same_conditions(
    captions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "--resume", captions, "--steps", "5", "--quiet"])
    assert "x.txt" in fails(["train", "--resume", captions, "--captions", "x.txt"], capsys)


def test_an_encoder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "my_texts.py").write_text(
        "import numpy as np\ndef lengths(texts):\n    return np.array([[len(t), 1.0] for t in"
        " texts])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    source, run = str(captioned(tmp_path)), str(tmp_path / "run")
    main(
        [
            "train",
            source,
            "--levels",
            "3",
            "--text-encoder",
            "my_texts:lengths",
            "--steps",
            "2",
            "--out",
            run,
            *SMALL,
        ]
    )
    assert "say --text-encoder my_texts:lengths if you trust it" in fails(["evaluate", run], capsys)
    assert "say --text-encoder" in fails(["sample", run, "--caption", "x"], capsys)
    main(["evaluate", run, "--text-encoder", "my_texts:lengths"])
    options = [
        "--caption",
        "four",
        "--text-encoder",
        "my_texts:lengths",
        "--n",
        "1",
        "--out",
        str(tmp_path / "s.png"),
    ]
    main(["sample", run, *options])
    assert "cannot be imported" in fails(
        ["evaluate", run, "--text-encoder", "nowhere:lengths"], capsys
    )
    main(
        ["train", "--resume", run, "--text-encoder", "my_texts:lengths", "--steps", "3", "--quiet"]
    )
    for command in ("reconstruct", "complete", "interpolate"):
        main([command, run, "--text-encoder", "my_texts:lengths", "--out", str(tmp_path / "r.png")])


def test_an_encoder_is_found_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here_texts.py").write_text(
        "class Needs:\n    def __init__(self, what):\n        pass\nclass Lengths:\n    def"
        " __call__(self, texts):\n        return [[float(len(t))] for t in texts]\n"
    )
    source, options = str(captioned(tmp_path)), ["--levels", "3", "--steps", "1", *SMALL]
    main(["train", source, "--text-encoder", "here_texts:Lengths", *options, "--out", "run"])
    assert "TypeError" in fails(
        ["train", source, "--text-encoder", "here_texts:Needs", *options, "--out", "other"], capsys
    )


def test_captions_beside_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = dict(np.load(captioned(tmp_path)))
    del arrays["train_maps"]
    np.savez(
        tmp_path / "both.npz", train_vectors=np.random.default_rng(0).random((60, 2)), **arrays
    )
    run, one = str(tmp_path / "run"), str(tmp_path / "one.npy")
    main(
        ["train", str(tmp_path / "both.npz"), "--levels", "3", "--steps", "1", "--out", run, *SMALL]
    )
    np.save(one, np.array([0.5, 0.25]))
    options = ["sample", run, "--n", "2", "--out", str(tmp_path / "s.npy")]
    main([*options, "--vectors", one, "--caption", "dark grey"])
    assert "a model of both takes --vectors and --caption" in fails(
        [*options, "--caption", "dark grey"], capsys
    )


def test_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", generator.integers(4, size=(30, 5, 5)).astype(np.uint8))
    np.save(tmp_path / "v.npy", generator.random((30, 3)))
    run = str(tmp_path / "run")
    options = [
        "--levels",
        "4",
        "--vectors",
        str(tmp_path / "v.npy"),
        "--steps",
        "2",
        "--out",
        run,
        *SMALL,
    ]
    main(["train", str(tmp_path / "x.npy"), *options])
    given = np.array([0.1, 0.2, 0.3])
    np.save(tmp_path / "one.npy", given)
    main(
        [
            "sample",
            run,
            "--vectors",
            str(tmp_path / "one.npy"),
            "--n",
            "2",
            "--out",
            str(tmp_path / "s.npy"),
        ]
    )
    condition = torch.from_numpy(given.astype(np.float32))
    expected = sample(
        load(run), 2, (5, 5), condition=condition, generator=torch.Generator().manual_seed(0)
    )
    assert np.array_equal(np.load(tmp_path / "s.npy"), expected.numpy())
    main(["sample", run, "--n", "2", "--out", str(tmp_path / "s.npy")])
    main(["interpolate", run, "--steps", "3", "--rows", "2", "--out", str(tmp_path / "i.npy")])
    assert np.load(tmp_path / "i.npy").shape == (2, 3, 1, 5, 5)
    np.save(tmp_path / "one.npy", np.zeros(4))
    assert "4 entries, but the model takes 3" in fails(
        ["sample", run, "--vectors", str(tmp_path / "one.npy")], capsys
    )
    assert "--guidance 2 needs a model that has seen unknown" in fails(
        ["sample", run, "--guidance", "2"], capsys
    )
    assert "not trained on captions" in fails(["sample", run, "--caption", "x"], capsys)


def test_portraits(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embedding, run = str(runs / "e.safetensors"), str(runs / "portraits")
    options = ["--steps", "20", "--held-out", "3", "--outputs", "4", "--features", "4"]
    text = said(["embed", "digits", "--out", embedding, *options], capsys)
    assert "trained on 7 classes, 3 held out" in text and "classes never seen: AUROC" in text
    figures = json.loads(said(["embed", "digits", "--out", embedding, "--json", *options], capsys))
    assert figures["known"]["auroc"] > 0.5 and figures["unseen"]["pairs"] > 0
    main(["train", "digits", "--embedding", embedding, "--steps", "2", "--out", run, *SMALL])
    for command in ("portraits", "reconstruct"):
        picture = tmp_path / f"{command}.png"
        main([command, run, "--n", "3", "--draws", "2", "--spread", "--out", str(picture)])
        assert picture.exists()
    main(["interpolate", run, "--between", "0", "100", "--out", str(tmp_path / "i.png")])
    main(["condition-worth", run, "--images", "4", "--json"])
    main(["sample", run, "--data", "digits", "--n", "2", "--out", str(tmp_path / "s.png")])
    assert "its hidden part included" in fails(["complete", run], capsys)
    assert "is not there" in fails(["interpolate", run, "--between", "0", "10000"], capsys)
    assert "holds an embedding, which draws and scores nothing" in fails(
        ["sample", embedding], capsys
    )
    assert "not an embedding" in fails(["train", "digits", "--embedding", run], capsys)
    assert "leaves fewer than two" in fails(["embed", "digits", "--held-out", "9"], capsys)
    before = json.loads(said(["evaluate", run, "--json"], capsys))
    moved = str(Path(embedding).rename(tmp_path / "moved.safetensors"))
    assert "say where it is: --embedding" in fails(["evaluate", run], capsys)
    assert json.loads(said(["evaluate", run, "--json", "--embedding", moved], capsys)) == before
    main(["sample", run, "--n", "2", "--embedding", moved, "--out", str(tmp_path / "s.png")])
    main(["train", "--resume", run, "--embedding", moved, "--steps", "3", "--quiet"])


@pytest.mark.parametrize("variational", [False, True])
def test_auto_encoders(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], variational: bool
) -> None:
    run, other = str(runs / f"ae-{variational}"), str(runs / f"cae-{variational}")
    options = ["--code-size", "3", "--encoder-features", "4", "--steps", "2"]
    kind = ["--variational", "--free-bits", "0.5"] if variational else []
    main(
        [
            "train",
            "digits",
            "--model",
            "pixel-cnn-autoencoder",
            "--out",
            run,
            *options,
            *kind,
            *SMALL,
        ]
    )
    main(
        [
            "train",
            "digits",
            "--model",
            "convolutional-autoencoder",
            "--out",
            other,
            *options,
            "--quiet",
        ]
    )
    table = said(["evaluate", run, "--importance-samples", "2"], capsys)
    figures = json.loads(said(["evaluate", run, "--importance-samples", "5", "--json"], capsys))
    if variational:
        assert figures["importance_weighted_bits_per_dim"] <= figures["bits_per_dim"]
    trained = said(["train", "--resume", run, "--steps", "3"], capsys)
    assert ("at most" if variational else "given its code") in trained and "given ," not in trained
    assert "mean squared error" in said(["train", "--resume", other, "--steps", "3"], capsys)
    assert "its hidden part included" in fails(["complete", run], capsys)
    assert "must be at least 0" in fails(["evaluate", run, "--importance-samples", "-1"], capsys)
    assert (
        ("at most (a bound)" in table and "for the code" in table)
        if variational
        else "given its code" in table
    )
    assert "not a likelihood" in said(["evaluate", other], capsys)
    assert "mean_squared_error" in json.loads(said(["evaluate", other, "--json"], capsys))
    out = tmp_path / "r.npy"
    main(["reconstruct", run, "--beside", other, "--n", "2", "--draws", "3", "--out", str(out)])
    assert np.load(out).shape == (2, 3, 1, 8, 8)
    main(["reconstruct", other, "--n", "2", "--out", str(tmp_path / "r.png")])
    main(["interpolate", run, "--rows", "1", "--steps", "2", "--out", str(tmp_path / "i.png")])
    main(["sample", run, "--n", "2", "--out", str(tmp_path / "s.png")])
    assert "code: " in said(["condition-worth", run, "--images", "4"], capsys)
    assert "has no likelihood" in fails(["sample", other], capsys)
    assert "give a convolutional auto-encoder" in fails(
        ["reconstruct", run, "--beside", run], capsys
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "pixel-cnn-autoencoder", "--scale", "2"], "--scale does not apply"),
        (["--model", "pixel-cnn-autoencoder", "--conditional"], "whose condition is its own code"),
        (["--code-size", "3"], "--code-size does not apply to --model gated-pixel-cnn"),
        (["--model", "convolutional-autoencoder", "--layers", "3"], "--layers does not apply"),
        (["--ignore-labels", "--conditional"], "no classes, vectors, captions or maps"),
        (["--ignore-labels", "--condition-dropout", "0.1"], "needs a conditional model"),
        (["--condition-noise", "0.1"], "needs a model that is conditioned on vectors"),
        (["--vectors", "nowhere.npy"], "there is no such file"),
        (["--value-features", "2", "--resize", "average"], "--resize average averages values"),
        (["--kind", "codes", "--resize", "average"], "--resize average averages values"),
    ],
)
def test_what_does_not_go_together(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(
        ["train", "digits", "--steps", "1", "--out", str(tmp_path / "run"), *options], capsys
    )


def test_codes_of_a_vector_quantised_auto_encoder(tmp_path: Path) -> None:
    """Maps of 512 codes train, score and sample as pictures do, by class."""
    generator = np.random.default_rng(0)
    np.save(tmp_path / "codes.npy", generator.integers(512, size=(40, 7, 5)).astype(np.int32))
    np.save(tmp_path / "codes_labels.npy", np.arange(40) % 2)
    run = str(tmp_path / "run")
    options = ["--levels", "512", "--value-features", "6", "--steps", "2", "--out", run, *SMALL]
    main(["train", str(tmp_path / "codes.npy"), *options])
    assert load(run).config()["value_features"] == 6 and load(run).levels == 512
    main(["evaluate", run])
    main(["sample", run, "--class", "1", "--n", "3", "--out", str(tmp_path / "s.npy")])
    drawn = np.load(tmp_path / "s.npy")
    assert drawn.shape == (3, 1, 7, 5) and drawn.dtype == np.uint16 and drawn.max() > 255
    large = np.zeros((20, 66, 3), np.uint8)
    large[:, ::2] = 4  # averaged, there would be values of 2
    np.save(tmp_path / "large.npy", large)
    options = [
        "--levels",
        "5",
        "--value-features",
        "2",
        "--steps",
        "1",
        "--out",
        f"{run}-2",
        *SMALL,
    ]
    main(["train", str(tmp_path / "large.npy"), *options])
    assert read_card(f"{run}-2").shape == (66, 3)


def test_positions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Positions are kept with the run and used in scores and draws, also by auto-encoders."""
    run = str(tmp_path / "run")
    options = ["--position-waves", "2", "--steps", "1", "--no-conditional", *SMALL]
    main(["train", "digits", "--out", run, *options])
    assert load(run).config()["position_waves"] == 2
    main(["evaluate", run])
    main(["sample", run, "--n", "2", "--size", "6x9", "--out", str(tmp_path / "s.npy")])
    assert np.load(tmp_path / "s.npy").shape == (2, 1, 6, 9)
    main(
        [
            "train",
            "digits",
            "--model",
            "pixel-cnn-autoencoder",
            "--out",
            f"{run}-2",
            *options[:4],
            *SMALL,
        ]
    )
    assert load(f"{run}-2").config()["decoder"]["position_waves"] == 2
    message = fails(["train", "digits", "--out", f"{run}-3", "--crop", "4", *options], capsys)
    assert "--position-waves encode the position" in message
