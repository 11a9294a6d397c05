"""Files and options that a newcomer has, and what the library says about them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextpixel import load_data, train_model
from nextpixel.cli.app import _NAMES, app, main
from nextpixel.codec.restore import archive_model
from nextpixel.data.again import load_again
from nextpixel.data.lettering import font, legible
from nextpixel.data.splits import Split
from nextpixel.devices import pick_device
from nextpixel.errors import UsageError
from nextpixel.inference.conditions import _rows
from nextpixel.inference.masks import known_pixels
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import CompletionRequest
from nextpixel.settings.source import Source


def pictures(folder: Path, *undecodable: str) -> Path:
    folder.mkdir()
    for k in range(10):
        Image.new("RGB", (4, 4), (k, 2 * k, 3 * k)).save(folder / f"{k}.png")
    for name in undecodable:  # Pillow reads a .dng as a TIFF of its thumbnail.
        Image.new("RGB", (4, 4)).save(folder / name, format="TIFF")
    return folder


def test_formats_without_a_decoder_are_errors_all_named_at_once(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "phone", "a.HEIC", "b.dng")
    with pytest.raises(UsageError, match=r"2 of 12 pictures.*a\.HEIC.*b\.dng.*skip_broken=True"):
        load_data(str(folder))


def test_skip_broken_skips_formats_without_a_decoder(tmp_path: Path) -> None:
    data = load_data(
        str(pictures(tmp_path / "phone", "a.HEIC", "b.dng")), Preparation(skip_broken=True)
    )
    assert sum(len(split) for split in (data.train, data.valid, data.test)) == 10
    assert any("a.HEIC" in note for note in data.notes)


def test_one_broken_picture_of_many_can_be_skipped_and_the_error_says_so(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    (folder / "x.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"1 of 11 pictures.*skip_broken=True"):
        load_data(str(folder))


def test_a_trained_model_says_what_is_wrong_with_other_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((20, 8, 8, 3), np.uint8))
    preparation = Preparation(channels=1, size=(8, 8), levels=2, from_levels=256)
    with pytest.raises(UsageError, match=r"the number of channels is 3; the model takes .* 1 chan"):
        load_again(Source(str(tmp_path / "x.npy")), preparation)


def test_an_empty_source_is_not_called_by_an_option_that_no_command_has() -> None:
    with pytest.raises(UsageError, match="the source '' must be the name") as refused:
        Source("")
    assert "‹" not in refused.value.sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="the sentence names no absent device")
def test_an_absent_device_is_not_recommended() -> None:
    with pytest.raises(UsageError, match="use auto.*cpu") as refused:
        pick_device("cuda:7")
    assert "cuda" not in str(refused.value).split("; use")[1]


FOUR = Split(images=np.zeros((1, 1, 4, 4), np.uint8))


@pytest.mark.parametrize(("value", "hides"), [(255, "nothing"), (1, "everything")])
def test_a_mask_that_divides_nothing_is_refused(tmp_path: Path, value: int, hides: str) -> None:
    mask = np.zeros((4, 4), np.uint8) if value == 1 else np.full((4, 4), value, np.uint8)
    mask[:2] = value
    Image.fromarray(mask).save(tmp_path / "mask.png")
    request = CompletionRequest(mask=str(tmp_path / "mask.png"))
    with pytest.raises(UsageError, match=f"hides {hides}: its values are"):
        known_pixels(request, FOUR, np.arange(1))


def test_a_black_mask_hides_everything(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "mask.png")
    request = CompletionRequest(mask=str(tmp_path / "mask.png"))
    assert not known_pixels(request, FOUR, np.arange(1)).any()


def test_a_table_of_vectors_without_images_is_explained(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("file,a\nx.png,1\n")
    with pytest.raises(UsageError, match=r"v\.csv: a \.csv table .*data="):
        _rows(tmp_path / "v.csv", 1)


def test_words_too_many_are_shown_as_they_were_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "my", "run 2"])
    assert "unexpected: 'run 2'; put a name that holds spaces" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compress {}/my photo.png -o a.npx", "my does not exist, but {}/my photo.png does; put"),
        ("compress {}", "compress needs --out: the archive, such as pictures.npx; see"),
        ("compress {} -o", "-o needs a value"),
        ("compress {} -o a.npx --fit abc", "--fit must be a number, not 'abc'"),
        ("train digits --learning-rate fast", "--learning-rate must be a number, not 'fast'"),
        ("--versio", "unknown option --versio; before a command there are --help and --version"),
        ("decompress", "decompress needs ARCHIVE; see nextpixel decompress --help"),
        ("evaluate", "evaluate needs MODEL: a run folder, a checkpoint, or the name of a"),
    ],
)
def test_what_is_missing_is_said(
    words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "my photo.png")
    with pytest.raises(SystemExit, match="2"):
        main(words.format(tmp_path).split(" "))
    assert said.format(tmp_path) in capsys.readouterr().err


def test_the_same_short_options_in_every_command() -> None:
    for name in _NAMES:
        for argument in app[name].assemble_argument_collection():
            short = [option for option in argument.names if re.fullmatch("-[a-z]", option)]
            assert short == (["-o"] if "--out" in argument.names else []), (name, argument.names)


def test_an_archive_that_saves_nothing_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    out = str(tmp_path / "a.npx")
    main(["compress", str(tmp_path / "x.png"), "--model", "mnist", "--out", out])
    assert "coded none of the pictures" in capsys.readouterr().out


def test_the_sheet_of_a_run_is_nobodys_picture(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    shape = Image.new("RGB", (50, 40))
    shape.save(folder / "preview.png")
    assert len(load_data(str(folder), Preparation(ragged=True, test=0, validation=0)).train) == 11
    (folder / "run.json").write_text("{}")
    assert len(load_data(str(folder), Preparation(test=0, validation=0)).train) == 10
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    shape.save(run / "preview.png")
    with pytest.raises(UsageError, match=r"is the folder of a run.*resume=.*start_from="):
        load_data(str(run))
    with pytest.raises(UsageError, match="holds a run already"):  # before the data are read
        train_model(str(tmp_path / "nowhere"), out=run)


@pytest.mark.parametrize(("count", "words"), [(1, "single image"), (3, "3 images are too few")])
def test_images_too_few_to_divide_are_named_and_a_short_run_is_no_success(
    count: int, words: str, tmp_path: Path
) -> None:
    x = np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4)
    small = {"network": {"features": 2, "layers": 1}}
    found = train_model(x, small, {"steps": 1}, out=tmp_path / "run")
    assert any(words in note for note in found.data.notes)
    assert found.bits_per_dim is None and not found.usable
    assert "only 1 update" in found.warnings[0]


def test_many_levels_and_large_pictures_come_with_advice(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:4, :4]
    x = (200 * (rows + columns) + np.arange(3)[:, None, None]).astype(np.uint16)
    small = {"network": {"features": 2, "layers": 1}}
    options = Preparation(from_levels=4096, test=0, validation=0)
    found = train_model(x, small, {"steps": 1}, preparation=options, out=tmp_path / "run")
    assert any("‹head=logistic›" in note for note in found.data.notes)
    for side, advised in ((127, False), (128, True)):
        Image.new("RGB", (side, side)).save(tmp_path / "large.png")
        data = load_data(str(tmp_path / "large.png"), Preparation(size="auto"))
        assert any("‹crop=32›" in note for note in data.notes) == advised


def test_the_model_of_an_archive_is_chosen_by_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("1", (20, 20)).save(tmp_path / "bits.png")
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "colours.png")
    main(["compress", str(tmp_path), "-o", str(archive := tmp_path / "a.npx")])
    assert archive_model(archive) == "nextpixel:photographs"
    assert (
        "the pixels are black and white, and the model's RGB: bits.png" in capsys.readouterr().out
    )


def test_only_some_images_were_taken_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.zeros((10, 4, 4), np.uint8)
    options = Preparation(from_levels=2, test=0, validation=0)
    small = {"network": {"features": 2, "layers": 1}}
    run = train_model(x, small, {"steps": 1}, preparation=options, out=tmp_path / "run").folder
    np.save(tmp_path / "x.npy", x)
    words = ["complete", str(run), "--data", str(tmp_path / "x.npy"), "--draws", "1"]
    main([*words, "--out", str(tmp_path / "c.png")])
    assert "8 of the 10 images were taken: give --n 10 for all" in capsys.readouterr().out
    main([*words, "--out", str(tmp_path / "c.png"), "--n", "3"])
    assert "images were taken" not in capsys.readouterr().out
    main(["info", str(run)])
    assert "captions" not in (said := capsys.readouterr().out) and "images = " in said


def test_names_are_written_in_letters_that_the_font_has() -> None:
    unknown = bytes(font(12).getmask("\uffff"))
    shown = legible("Hündchen, Straße, 鱼, O’Brien – “co”")
    assert unknown == bytes(font(12).getmask("ü"))  # else accents may stay
    assert not [letter for letter in shown if bytes(font(12).getmask(letter)) == unknown]
