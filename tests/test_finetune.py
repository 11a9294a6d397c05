"""Fine-tuning: what a run that starts from a checkpoint keeps, says, records and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nextpixel import Source, TrainConfig, load, score
from nextpixel.checkpoint import read_card
from nextpixel.cli.app import main
from nextpixel.errors import UsageError
from nextpixel.inference.evaluation import evaluate_model
from nextpixel.settings.choice import ModelChoice
from nextpixel.settings.requests import DataRequest
from nextpixel.training.finetune import start_from_checkpoint
from nextpixel.training.runs import reopen
from nextpixel.training.start import resume_model, train_model

SMALL = ModelChoice(network={"features": 6, "layers": 1, "kernel_size": 3})
SHORT = TrainConfig(steps=2, batch_size=4)


def folder_of(path: Path, classes: str, seed: int = 0, count: int = 12) -> Path:
    """Pictures of 4×4 in sub-folders that are classes."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    for name in classes:
        (path / name).mkdir(parents=True)
        for k in range(count):
            image = generator.integers(0, 256, (4, 4)).astype(np.uint8)
            Image.fromarray(image).save(path / name / f"{k}.png")
    return path


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("parent")
    images = folder_of(place / "ab", "ab")
    preparation = {"levels": 4}
    train_model(images, SMALL, SHORT, preparation=preparation, out=place / "run")
    return place / "run"


def test_classes_keep_their_weights_by_name_and_new_ones_are_unknown(
    parent: Path, tmp_path: Path
) -> None:
    images = folder_of(tmp_path / "bc", "bc", seed=1)
    rate = TrainConfig(steps=1, batch_size=4, learning_rate=1e-12, ema_decay=0.0)
    result = train_model(images, training=rate, start_from=parent, out=tmp_path / "child")
    before, after = load(parent), load(tmp_path / "child")
    assert after.levels == 4  # the recorded preparation
    x = torch.randint(4, (1, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    pairs = ((1, 0), (-1, 1), (-1, -1))  # b stays b, c is unknown
    for old, new in pairs:
        torch.testing.assert_close(
            score(after, x, torch.tensor([new])),
            score(before, x, torch.tensor([old])),
            rtol=1e-6,
            atol=1e-5,
        )
    notes = " ".join(result.data.notes)
    assert "new classes, which begin as unknown: c" in notes
    assert "classes of the checkpoint that these images do not have: a" in notes
    assert "starts from run, after" in notes


def test_a_child_remembers_its_ancestors_and_what_they_were_trained_on(
    parent: Path, tmp_path: Path
) -> None:
    old, images = parent.parent / "ab", tmp_path / "images"
    folder_of(images, "ab", seed=2, count=40)
    for picture in (old / "a").glob("*.png"):  # images that the parent was trained on among them
        (images / "a" / f"old{picture.name}").write_bytes(picture.read_bytes())
    other_split = {"split_seed": 5}
    out = tmp_path / "child"
    result = train_model(
        images, training=SHORT, start_from=parent, preparation=other_split, out=out
    )
    assert "the checkpoint that the model started from was trained on" in " ".join(
        result.data.notes
    )
    card, of_parent = read_card(out), read_card(parent)
    step = getattr(of_parent.training, "step", None)
    assert [(a.name, a.weights_sha256, a.step) for a in card.ancestors] == [
        ("run", of_parent.weights_sha256, step)
    ]
    found = evaluate_model(out, DataRequest(split="test"))
    assert found.images == result.images
    _, data, _ = reopen(out)
    assert len(data.test) == len(result.data.test)
    resume_model(out, {"steps": 3})
    assert read_card(out).ancestors == card.ancestors
    grandchild = tmp_path / "grandchild"
    train_model(images, training=SHORT, start_from=out, out=grandchild)
    assert [a.name for a in read_card(grandchild).ancestors] == ["child", "run"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--layers", "3"], "leave out --layers"),
        (["--levels", "8"], "holds a model with levels=4, but the images have levels=8"),
        (["--no-conditional"], "it stays so; leave out --no-conditional"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    options: list[str],
    sentence: str,
    parent: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    images = str(parent.parent / "ab")
    with pytest.raises(SystemExit) as stop:
        main(["train", images, "--from", str(parent), "--steps", "1", "--out", str(out), *options])
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_a_pretrained_model_is_fine_tuned_and_info_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = np.random.default_rng(0).integers(0, 2, (20, 1, 6, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", digits)
    out = str(tmp_path / "run")
    arguments = ["--from", "nextpixel:mnist-pixel-cnn", "--steps", "1", "--batch-size", "2"]
    main(["train", str(tmp_path / "x.npy"), *arguments, "--out", out])
    trained = capsys.readouterr().out
    assert "does not say on which images it was trained" in trained
    assert "the run had only" not in trained  # it has the updates of its ancestor
    main(["info", out, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["ancestors"][0]["name"] == "nextpixel:mnist-pixel-cnn"
    assert found["ancestors"][0]["step"] == 56250
    main(["info", out])
    shown = capsys.readouterr().out
    assert "nextpixel:mnist-pixel-cnn, after 56,250 updates" in " ".join(shown.split())
    assert "validation" not in shown  # fields of the preparation with their defaults


def test_other_levels_are_refused_with_the_option_that_prepares_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4)).astype(np.uint8)
    np.save(tmp_path / "x.npy", images)
    arguments = ["--from", "nextpixel:mnist-pixel-cnn", "--steps", "1", "--batch-size", "2"]
    arguments += ["--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "x.npy"), *arguments])
    assert "give --from-levels or --binarise to prepare others" in capsys.readouterr().err
    binarised = {"binarise": "threshold"}
    source = Source(tmp_path / "x.npy")
    start = start_from_checkpoint("nextpixel:mnist-pixel-cnn", source, binarised, SHORT)
    assert start.data.levels == 2


def test_the_random_state_of_the_caller_stays(parent: Path, tmp_path: Path) -> None:
    images = folder_of(tmp_path / "bc", "bc", seed=1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for orders in (None, 2):
        start_from_checkpoint(parent, Source(images), {}, SHORT, orders=orders)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_is_given_takes_no_kind_of_maps(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the model of the checkpoint; leave out categorical_map"):
        train_model(tmp_path, training=SHORT, start_from=parent, categorical_maps=True)
    with pytest.raises(UsageError, match="categorical_maps= was given, but digits has no maps of"):
        train_model("digits", SMALL, SHORT, categorical_maps=True, out=tmp_path / "run")
