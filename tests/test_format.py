"""Another program reads archives: `tests/reader.py` knows the page of the format alone."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nextpixel import GatedPixelCNN
from nextpixel.codec.archive import compress_files
from nextpixel.codec.compress import compress
from nextpixel.codec.exact import exact, fingerprint
from nextpixel.models.core import ImageModel
from nextpixel.settings.codec import CompressConfig
from tests import reader
from tests.cases import build, images


def logits_of(model: ImageModel) -> reader.Logits:
    """What another program would compute."""
    same = exact(model)

    def logits(x: reader.Integers) -> reader.Integers:
        with torch.no_grad():
            found = same(torch.from_numpy(x)).logits * 1024  # type: ignore[union-attr]
        return found.long().numpy()

    return logits


@pytest.mark.parametrize("name", ["gated-rgb", "pixel-cnn"])
def test_another_program_decodes_images(name: str) -> None:
    model = build(name)
    x = images(model, 3, (3, 2))
    data = compress(model, x, together=2)
    archive = reader.read(data)
    assert archive.fingerprint == fingerprint(exact(model))[:16]
    assert (archive.channels, archive.levels, archive.model) == (model.channels, model.levels, "")
    assert archive.blocks[0][0] == 1
    found = [reader.images(archive, number, logits_of(model)) for number in range(2)]
    assert np.array_equal(np.concatenate(found), x.numpy())


def test_another_program_restores_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GatedPixelCNN(levels=16, features=4, layers=1, kernel_size=3).eval()
    folder, random = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()

    def picture(name: str, alpha: bool = False, **keywords: object) -> None:
        values = random.integers(0, 16, (4, 5), dtype=np.uint8) * 17
        shown = Image.merge("LA", [Image.fromarray(values), Image.new("L", (5, 4), 99)])
        (shown if alpha else shown.getchannel(0)).save(folder / name, **keywords)  # type: ignore[arg-type]

    info = PngInfo()
    info.add_text("Title", "noise")
    info.add(b"tIME", bytes(7), after_idat=True)
    for name in ("8.png", "9.png", "10.png", "d.pgm"):
        picture(name)
    picture("text.png", pnginfo=info)
    picture("opaque.png", alpha=True)
    (folder / "photo.jpg").write_bytes(b"kept as it is")
    compress_files(model, [folder], tmp_path / "a.npx", CompressConfig(include_model=True))
    archive = reader.read((tmp_path / "a.npx").read_bytes())
    said, weights = reader.model_of(archive)
    assert said["model"] == "GatedPixelCNN" and said["config"]["levels"] == 16
    state = exact(model).state_dict()
    assert weights.keys() == state.keys()
    for key, tensor in state.items():
        assert np.array_equal(weights[key], np.where(weights[key] == 0, 0, tensor.numpy()))
    found = {}
    for number, entries in enumerate(archive.entries[:-1]):
        if archive.blocks[number][0] == 3:
            found[entries[0][0]] = archive.blocks[number][1]
            continue
        pixels = reader.images(archive, number, logits_of(model))
        for x, (name, note) in zip(pixels, entries, strict=True):
            found[name] = reader.file_of(x, note, 16)
    assert found.keys() == {path.name for path in folder.iterdir()}
    assert found["photo.jpg"] == b"kept as it is"
    for name, data in found.items():
        original = (folder / name).read_bytes()
        if name != "photo.jpg":
            with Image.open(io.BytesIO(original)) as a, Image.open(io.BytesIO(data)) as b:
                assert (a.format, a.mode, a.tobytes()) == (b.format, b.mode, b.tobytes())
                assert a.info == b.info
    assert found["d.pgm"] == (folder / "d.pgm").read_bytes()
