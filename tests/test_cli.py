"""The commands, end to end on tiny runs, and what they say to mistakes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextpixel import load, sample
from nextpixel.cli.app import main
from nextpixel.training.record import read_run

SMALL = ["--features", "8", "--layers", "2", "--kernel-size", "3", "--batch-size", "32"]


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    main(["train", "digits", "--out", str(folder), "--steps", "20", "--quiet", *SMALL])
    return str(folder)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures of different sizes and formats in two classes."""
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    for k in range(24):
        kind = folder / ("cats" if k % 2 else "dogs")
        kind.mkdir(exist_ok=True)
        height, width = generator.integers(20, 40, 2)
        picture = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
        picture.save(kind / f"{k}.{'png' if k % 3 else 'jpg'}")
    return str(folder)


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says on its way to exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.err + said.out


def test_help_needs_no_torch() -> None:
    script = (
        "import sys; from nextpixel.cli.app import main\nfor words in [['--help'], ['--version'],"
        " ['train', '--help'], ['sample', '--help'], ['data', '--help']]:\n    main(words)\nassert"
        " 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in (
        "train",
        "evaluate",
        "sample",
        "complete",
        "info",
        "data",
        "check",
        "--features",
        "--minutes",
        "--class",
    ):
        assert word in done.stdout


def test_a_run_says_what_it_chose(
    digits_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "digits", "--out", str(tmp_path / "run"), "--steps", "2", *SMALL])
    said = capsys.readouterr().out
    for text in (
        "8×8",
        "17 levels",
        "GatedPixelCNN",
        "conditioned on 10 classes",
        "2 steps",
        "bits/dim given the class",
    ):
        assert text in said
    assert {"run.json", "metrics.jsonl", "state.safetensors", "best.safetensors"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }


def test_a_folder_of_pictures_needs_no_options(
    photographs: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", photographs, "--steps", "2", "--features", "6", "--layers", "1"])
    said = capsys.readouterr().out
    assert "3 channels, 256 levels" in said
    assert "conditioned on 2 classes" in said
    run = str(tmp_path / "runs" / Path(photographs).name)
    main(["sample", run, "--class", "cats", "--n", "2", "--size", "6x5", "--out", "cats.npy"])
    assert np.load("cats.npy").shape == (2, 3, 6, 5)


def test_crops_train_a_model_for_any_size(photographs: str, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    main(
        [
            "train",
            photographs,
            "--out",
            run,
            "--crop",
            "16",
            "--no-conditional",
            "--steps",
            "2",
            "--quiet",
            *SMALL[2:],
        ]
    )
    main(["evaluate", run])
    main(["sample", run, "--n", "1", "--out", str(tmp_path / "x.npy")])
    assert np.load(tmp_path / "x.npy").shape == (1, 3, 16, 16)
    picture = next(Path(photographs).glob("cats/*.png"))
    main(
        [
            "complete",
            run,
            "--data",
            str(picture),
            "--draws",
            "1",
            "--out",
            str(tmp_path / "whole.png"),
        ]
    )
    assert picture_size(tmp_path / "whole.png")[1] == picture_size(picture)[1] + 2


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "pixel-cnn", "--skip"],
        ["--model", "row-lstm", "--no-residual"],
        ["--model", "diagonal-bilstm", "--complete-context"],
        ["--model", "row-lstm", "--scale", "2"],
        ["--head", "logistic", "--objective", "density"],
    ],
    ids=lambda options: "-".join(options).replace("--", ""),
)
def test_every_model_goes_through_the_same_commands(
    options: list[str], photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    small = ["--size", "5x4", "--levels", "4", "--features", "6", "--layers", "1"]
    small += ["--steps", "2", "--batch-size", "4"]
    main(["train", photographs, "--out", run, *small, *options])
    main(["evaluate", run, "--split", "valid", "--json"])
    assert ("dequantised_bits_per_dim" in capsys.readouterr().out) == ("logistic" in options)
    main(["sample", run, "--n", "2", "--out", str(tmp_path / "x.npy")])
    assert np.load(tmp_path / "x.npy").shape == (2, 3, 5, 4)
    main(
        [
            "complete",
            run,
            "--split",
            "valid",
            "--n",
            "1",
            "--draws",
            "2",
            "--out",
            str(tmp_path / "c.png"),
        ]
    )
    main(["evaluate", run, "--split", "valid"])
    assert ("for one in 2 rows and columns" in capsys.readouterr().out) == ("--scale" in options)
    main(["check", run, "--size", "2x3"])
    main(["inspect", run, "--split", "valid", "--out", str(tmp_path / "inspect"), "--images", "2"])
    said = capsys.readouterr().out
    assert "causal and normalised" in said
    assert "effective field of pixel (3, 2)" in said
    assert {"predictions.png", "effective_field.png"} == {
        path.name for path in (tmp_path / "inspect").iterdir()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--model", "pixel-cnn", "--complete-context"],
            "--complete-context does not apply to --model pixel-cnn",
        ),
        (["--no-residual"], "--residual does not apply to --model gated-pixel-cnn"),
        (["--scale", "1"], "--scale 1 must be at least 2"),
        (["--objective", "density"], "--objective density is for models with --head logistic"),
        (["--model", "lstm"], "lstm"),
    ],
)
def test_options_that_do_not_apply_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = fails(
        ["train", "digits", "--out", str(tmp_path / "run"), "--steps", "2", *options], capsys
    )
    assert message in " ".join(said.split())
    assert not (tmp_path / "run").exists()


def test_inspect_chosen_pixels(
    digits_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "inspect")
    main(
        ["inspect", digits_run, "--out", out, "--pixels", "3x4", "--pixels", "7x0", "--image", "2"]
    )
    said = capsys.readouterr().out
    assert "row 3, column 4: entropy" in said and "row 7, column 0: entropy" in said
    assert "3x9 is outside the image, which has 8 rows" in fails(
        ["inspect", digits_run, "--pixels", "3x9"], capsys
    )
    assert "3 is not a pixel" in fails(["inspect", digits_run, "--pixels", "3"], capsys)
    assert "has images 0 … 178" in fails(["inspect", digits_run, "--image", "179"], capsys)
    main(["inspect", digits_run, "--out", out, "--field-pixel", "2x3"])
    assert "effective field of pixel (2, 3)" in capsys.readouterr().out
    assert "--field-pixel 9x0 is outside" in fails(
        ["inspect", digits_run, "--field-pixel", "9x0"], capsys
    )


def test_names_are_inspected_without_a_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(
        tmp_path / "codes.npy",
        np.random.default_rng(0).integers(5, size=(30, 4, 4)).astype(np.int32),
    )
    options = [
        "--levels",
        "5",
        "--value-features",
        "3",
        "--features",
        "6",
        "--layers",
        "1",
        "--steps",
        "1",
        "--quiet",
    ]
    for scale in ([], ["--scale", "2"]):
        run = str(tmp_path / f"run{len(scale)}")
        main(
            [
                "train",
                str(tmp_path / "codes.npy"),
                "--out",
                run,
                "--model",
                "pixel-cnn",
                *options,
                *scale,
            ]
        )
        capsys.readouterr()
        main(["inspect", run, "--out", str(tmp_path / "i")])
        assert (
            "no effective field" in capsys.readouterr().out
            and (tmp_path / "i" / "predictions.png").exists()
        )
    assert load(run).config()["large"]["condition"]["categorical"]


def test_numbers_that_are_too_small_are_named(
    digits_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--enlarge 0 must be at least 1" in fails(
        ["complete", digits_run, "--enlarge", "0"], capsys
    )
    assert "--field 0 must be at least 1" in fails(["check", digits_run, "--field", "0"], capsys)
    message = fails(["train", "digits", "--model", "diagonal-bilstm", "--kernel-size", "0"], capsys)
    assert "--kernel-size must be an odd number" in message
    message = fails(["train", "digits", "--model", "row-lstm", "--first-kernel-size", "2"], capsys)
    assert "--first-kernel-size must be an odd number" in message


def test_evaluate(digits_run: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", digits_run, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 179
    assert figures["conditional"]
    import torch

    from nextpixel import load_data, score

    test = load_data("digits").test
    x, labels = torch.from_numpy(test.batch(range(179))).long(), torch.from_numpy(test.labels)
    nats = -float(score(load(digits_run), x, labels).mean())
    assert figures["nats_per_image"] == pytest.approx(nats, rel=1e-5)
    assert figures["bits_per_dim"] == pytest.approx(nats / (64 * np.log(2)), rel=1e-5)
    assert 2.3 < figures["histogram_bits_per_dim"] < 2.5
    main(["evaluate", digits_run, "--split", "valid"])
    assert "given the class" in capsys.readouterr().out


def test_samples_as_a_grid_an_array_and_a_folder(digits_run: str, tmp_path: Path) -> None:
    main(["sample", digits_run, "--n", "20", "--out", str(tmp_path / "grid.png"), "--enlarge", "2"])
    width, height = picture_size(tmp_path / "grid.png")
    assert width > 2 * 17 + 1 and height == 10 * 17 + 1  # two columns, a row a class, and its name
    main(
        [
            "sample",
            digits_run,
            "--n",
            "3",
            "--class",
            "7",
            "--seed",
            "5",
            "--out",
            str(tmp_path / "sevens.npy"),
        ]
    )
    sevens = np.load(tmp_path / "sevens.npy")
    import torch

    again = sample(
        load(digits_run),
        3,
        (8, 8),
        condition=torch.tensor(7),
        generator=torch.Generator().manual_seed(5),
    )
    assert np.array_equal(sevens, again.numpy())
    main(["sample", digits_run, "--n", "3", "--class", "7", "--out", str(tmp_path / "folder")])
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == [
        f"{k}_7.png" for k in range(3)
    ]


def test_completions(digits_run: str, tmp_path: Path) -> None:
    out = tmp_path / "completions.png"
    main(["complete", digits_run, "--n", "3", "--draws", "2", "--out", str(out)])
    assert picture_size(out)[0] > 4 * 9 + 1 and picture_size(out)[1] == 3 * 9 + 1
    main(["complete", digits_run, "--n", "3", "--draws", "2", "--only-result", "--out", str(out)])
    assert 2 * 9 + 1 < picture_size(out)[0] < 4 * 9 + 1
    main(["complete", digits_run, "--n", "2", "--draws", "2", "--out", str(tmp_path / "files")])
    names = sorted(path.name for path in (tmp_path / "files").iterdir())
    assert [name[:4] for name in names] == ["0_0_", "0_1_", "1_0_", "1_1_"]  # and the class
    mask = np.full((8, 8), 255, np.uint8)
    mask[2:4, 3:6] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    main(
        [
            "complete",
            digits_run,
            "--n",
            "2",
            "--mask",
            str(tmp_path / "mask.png"),
            "--out",
            str(tmp_path / "x.npy"),
        ]
    )
    drawn = np.load(tmp_path / "x.npy")
    assert drawn.shape == (2, 4, 1, 8, 8)
    from nextpixel import load_data

    originals = load_data("digits").test.batch(range(2))
    assert (drawn == originals[:, None])[..., mask == 255].all()


def test_info_and_check(
    digits_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["info", digits_run, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "GatedPixelCNN"
    assert told["config"]["features"] == 8
    assert told["parameters"] == sum(p.numel() for p in load(digits_run).parameters())
    main(["info", digits_run])
    assert "GatedPixelCNN" in capsys.readouterr().out
    main(["check", digits_run, "--size", "3x4", "--picture", str(tmp_path / "field.png")])
    assert "causal and normalised" in capsys.readouterr().out
    assert picture_size(tmp_path / "field.png") == (15 * 8 + 2, 15 * 8 + 2)


def test_data(photographs: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "digits", "--json"])
    assert json.loads(capsys.readouterr().out)["levels"] == 17
    main(["data", photographs])
    said = capsys.readouterr().out
    assert "sizes differ" in said
    assert "2 classes" in said
    main(["data", "digits", "--binarise", "threshold"])
    assert "2 levels" in capsys.readouterr().out


def test_resume_changes_the_length_and_what_mends_a_run_alone(
    digits_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    main(["train", "digits", "--out", run, "--steps", "4", "--quiet", *SMALL])
    main(
        [
            "train",
            "--resume",
            run,
            "--steps",
            "6",
            "--learning-rate",
            "1e-4",
            "--precision",
            "float32",
        ]
    )
    assert "6 steps" in capsys.readouterr().out
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert lines[-1]["step"] == 6
    main(["train", "digits", "--resume", run])  # changes nothing
    asked = read_run(run)
    assert asked["training"]["learning_rate"] == 1e-4
    changed = {"steps": [4, 6], "learning_rate": [0.02, 1e-4], "precision": ["auto", "float32"]}
    assert asked["changes"] == [{"step": 4} | changed]
    assert "6 steps" in capsys.readouterr().out
    for words, name in [
        (["--batch-size", "32"], "--batch-size"),
        (["--features", "16"], "--features"),
        (["--no-conditional"], "--no-conditional"),
        (["--out", "elsewhere"], "--out"),
        (["--levels", "4"], "--levels"),
    ]:
        message = fails(["train", "--resume", run, "--steps", "9", *words], capsys)
        assert name in message and "leave" in message
    assert "holds a run already" in fails(
        ["train", "digits", "--out", run, "--steps", "4", *SMALL], capsys
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    run = tmp_path / "my run"
    words = [
        "train",
        "digits",
        "--out",
        str(run),
        "--steps",
        "100000",
        "--evaluate-every",
        "100000",
        *SMALL,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "nextpixel", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert f"nextpixel train --resume '{run}'" in said
    assert "Traceback" not in said


def test_a_refused_run_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = [
        "train",
        "digits",
        "--out",
        str(tmp_path / "run"),
        "--patience",
        "1",
        "--validation",
        "0",
    ]
    assert "needs a validation split" in fails(refused, capsys)
    assert not (tmp_path / "run").exists()


def test_other_data_are_taken_whole_and_their_classes_by_name(
    digits_run: str, photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "[odd] digits"
    for name in ("7", "3"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((8, 8), 10, np.uint8)).save(folder / name / "a.png")
    other = str(folder)
    main(
        [
            "train",
            "digits",
            "--levels",
            "16",
            "--steps",
            "1",
            "--out",
            str(tmp_path / "run"),
            "--quiet",
            *SMALL,
        ]
    )
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "run"), "--data", other, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert (figures["images"], figures["split"]) == (2, "all")
    from nextpixel import Preparation, load_data, score

    x = load_data(other, Preparation(levels=16, from_levels=17, validation=0, test=0)).train
    assert [x.names[k][0] for k in range(2)] == ["3", "7"]
    import torch

    nats = -float(
        score(
            load(tmp_path / "run"), torch.from_numpy(x.batch(range(2))).long(), torch.tensor([3, 7])
        ).mean()
    )
    assert figures["nats_per_image"] == pytest.approx(nats)
    main(["evaluate", str(tmp_path / "run"), "--data", other])
    assert "[odd] digits" in capsys.readouterr().out
    main(["complete", str(tmp_path / "run"), "--data", other, "--out", str(tmp_path / "x.npy")])
    assert np.load(tmp_path / "x.npy").shape == (2, 4, 1, 8, 8)
    plain = str(folder / "7" / "a.png")
    assert "as --class" in fails(["complete", str(tmp_path / "run"), "--data", plain], capsys)
    main(
        [
            "complete",
            str(tmp_path / "run"),
            "--data",
            plain,
            "--class",
            "7",
            "--out",
            str(tmp_path / "x.npy"),
        ]
    )
    (folder / "7").rename(folder / "cat")
    assert "the class 'cat'" in fails(["evaluate", str(tmp_path / "run"), "--data", other], capsys)


def test_data_are_found_from_the_folder_where_they_were_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checkpoints tell nobody where on whose disk the data are; elsewhere, commands ask."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(4, size=(30, 6, 5), dtype=np.uint8))
    main(["train", "x.npy", "--levels", "4", "--steps", "1", "--out", "run", "--quiet", *SMALL])
    assert str(tmp_path).encode() not in (tmp_path / "run" / "best.safetensors").read_bytes()
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()
    main(["evaluate", "run"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    told = fails(["evaluate", "../run"], capsys)
    assert "trained on x.npy, but x.npy is not there" in told and "--data" in told
    told = fails(["train", "--resume", "../run", "--steps", "2"], capsys)
    assert "the run is of x.npy, but x.npy is not there" in told
    main(["evaluate", "../run", "--data", "../x.npy"])
    main(["train", "../x.npy", "--resume", "../run", "--steps", "2", "--quiet"])


def test_a_file_of_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text('source = "digits"\nfeatures = 6\nlayers = 1\nsteps = 2\nkernel_size = 3\n')
    main(
        [
            "train",
            "--config",
            str(recipe),
            "--features",
            "10",
            "--out",
            str(tmp_path / "run"),
            "--quiet",
        ]
    )
    config = load(tmp_path / "run").config()
    assert (config["features"], config["layers"]) == (10, 1)
    recipe.write_text('source = "digits"\nfeatuers = 6\n')
    assert "features" in fails(
        ["train", "--recipe", str(recipe), "--out", str(tmp_path / "other")], capsys
    )
    assert not (tmp_path / "other").exists()
    assert "nowhere.toml" in fails(["train", "--config", str(tmp_path / "nowhere.toml")], capsys)
    recipe.write_text("features =")
    assert "tiny.toml is not a TOML file" in fails(["train", "--recipe", str(recipe)], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "/nowhere"], "no such file or folder"),
        (["train"], "give a source of images"),
        (["train", "digits", "--featres", "3"], "--features"),
        (
            ["train", "digits", "--steps", "0", "--out", "unused"],
            "--steps 0 must be a whole number of at least 1",
        ),
        (
            ["train", "digits", "--steps", "1", "--epochs", "1", "--out", "unused"],
            "--steps 1 and --epochs 1 both set the length",
        ),
        (["train", "digits", "--size", "big"], "--size: big is not a size"),
        (
            ["train", "digits", "--features", "0", "--steps", "1", "--out", "unused"],
            "must be at least 1, not 0",
        ),
        (["train", "digits", "--device", "tpu9"], "--device tpu9 does not exist"),
        (["sample", "unused", "--n", "0"], "--n 0 must be at least 1"),
        (["sample", "unused", "--scale", "0"], "--enlarge 0 must be at least 1"),
        (["train", "--resume", "/nowhere"], "/nowhere holds no run"),
        (["evaluate", "/nowhere"], "/nowhere does not exist"),
        (["sample", "/nowhere"], "/nowhere does not exist"),
        (["complete", "/nowhere"], "/nowhere does not exist"),
        (["info", "/nowhere"], "/nowhere does not exist"),
        (["check", "/nowhere"], "/nowhere does not exist"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in " ".join(fails(arguments, capsys).replace("│", " ").split())


def test_mistakes_with_a_run(
    digits_run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is not a class of this model; use all, none, or one of 0, 1" in fails(
        ["sample", digits_run, "--class", "x"], capsys
    )
    assert "give .png, .npy or the name of a folder" in fails(
        ["sample", digits_run, "--n", "1", "--out", "x.tiff"], capsys
    )
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "mask.png")
    mask = ["complete", digits_run, "--mask", str(tmp_path / "mask.png")]
    assert "is 3×3, but the images are 8×8" in fails(mask, capsys)
    colour = tmp_path / "colour.npy"
    np.save(colour, np.zeros((20, 8, 8, 3), np.uint8))
    assert "channels" in fails(["evaluate", digits_run, "--data", str(colour)], capsys)


def test_completion_of_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    script = tmp_path / "nextpixel"
    main(["--install-completion", "--shell", "bash", "--output", str(script)])
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    asked = "_nextpixel; printf '%s\\n' ${COMPREPLY[@]}"
    for words, expected in (("condition-", "condition-worth"), ("sample --guid", "--guidance")):
        line = f"source {script}; COMP_WORDS=(nextpixel {words}); COMP_CWORD={len(words.split())}"
        told = subprocess.run(["bash", "-c", f"{line}; {asked}"], capture_output=True, text=True)
        assert expected in told.stdout.split(), told
