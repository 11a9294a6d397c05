"""The sheet of what a model sees: stored and prepared images side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextpixel import Preparation, Source, load_data
from nextpixel.cli.app import main
from nextpixel.data.preview import _head, write_preview


def sheet(path: Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert max(picture.size) < 2000
        return np.asarray(picture.convert("RGB"))


def area(found: NDArray[Any], colour: tuple[int, int, int]) -> int:
    return int((found == np.array(colour)).all(axis=2).sum())


def test_data_draws_images_as_stored_and_as_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.zeros((40, 8, 8, 3), np.uint8) + np.array([200, 40, 10], np.uint8)
    images[:, 0, 0, 0] = np.arange(40)  # so that the images differ
    np.save(tmp_path / "x.npy", images)
    out = tmp_path / "sheet.png"
    main(["data", str(tmp_path / "x.npy"), "--levels", "2", "--preview", str(out)])
    shown = capsys.readouterr().out
    assert f"preview: {out}" in shown
    assert "prepared  levels = 2" in shown
    assert "skip_broken" not in shown  # only what differs from the defaults
    found, tile = sheet(out), 112**2 * 63 // 64
    number = sum(min(8, len(s)) for s in _splits(load_data(tmp_path / "x.npy")))
    assert area(found, (200, 40, 10)) == number * tile  # stored
    assert area(found, (255, 0, 0)) == number * tile  # prepared


def _splits(data: Any) -> list[Any]:
    return [data.train, data.valid, data.test]


def test_pictures_are_shown_as_they_lie_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "cats"
    folder.mkdir(parents=True)
    for k in range(4):
        picture = np.full((40, 80, 3), (k, 90, 160), np.uint8)
        picture[:, :15] = (250, 20, 30)  # cut off by the central square
        Image.fromarray(picture).save(folder / f"{k}.png")
    data = load_data(tmp_path / "pictures", Preparation(size=8, validation=0, test=0))
    assert [example.label for example in data.examples] == ["cats"] * 4
    assert data.examples[0].stored_size == (40, 80)
    write_preview(data, tmp_path / "sheet.png")
    assert area(sheet(tmp_path / "sheet.png"), (250, 20, 30)) > 4 * 200


@pytest.mark.parametrize("kind", ["bands", "ragged", "large", "captions and maps"])
def test_every_kind_of_data_has_a_sheet(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    place, preparation, annotations = tmp_path / "x.npy", Preparation(), {}
    if kind == "ragged":
        place = tmp_path / "pictures"
        place.mkdir()
        for k in range(3):
            values = generator.integers(0, 256, (9 + k, 5), dtype=np.uint8)
            Image.fromarray(values).save(place / f"{k}.png")
        preparation = Preparation(ragged=True)
    else:
        shape = {"bands": (9, 7, 16, 16), "large": (3, 1, 9, 1500)}.get(kind, (9, 1, 6, 6))
        np.save(place, generator.integers(0, 5, shape).astype(np.uint8))
    if kind == "captions and maps":
        (tmp_path / "x.txt").write_text("\n".join(f"text ☃ {k}" * 30 for k in range(9)))
        np.save(tmp_path / "m.npy", generator.random((9, 1, 6, 6)).astype(np.float32))
        annotations = {"captions": tmp_path / "x.txt", "maps": tmp_path / "m.npy"}
    data = load_data(Source(place, **annotations), preparation)
    write_preview(data, tmp_path / "sheet.png")
    sheet(tmp_path / "sheet.png")
    words = " ".join(_head(data, 4))
    assert ("false colours: of 7 channels 1, 2 and 3 as red" in words) == (kind == "bands")
    assert ("right: the map" in words) == (kind == "captions and maps")


def test_a_run_holds_the_sheet_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = ["--features", "4", "--layers", "1"]
    main(["train", "digits", "--steps", "1", "--out", str(out), *options])
    assert f"what the model sees: {out / 'preview.png'}" in capsys.readouterr().out
    sheet(out / "preview.png")


def test_a_sheet_is_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", "digits", "--preview", str(tmp_path / "sheet.jpg")])
    assert stop.value.code == 2
    assert "--preview" in capsys.readouterr().err
