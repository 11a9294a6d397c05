"""Tables of scores: one row for every picture, whatever it is, and the same rows after a stop."""

import csv
import os
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from nextpixel import GatedPixelCNN, anomaly_map, class_log_probabilities, save
from nextpixel.analysis.calibration import calibrate, load_calibration, save_calibration
from nextpixel.analysis.drift import two_samples
from nextpixel.checkpoint import CheckpointError, ModelCard
from nextpixel.cli.app import main
from nextpixel.conditions.kinds import ClassCondition
from nextpixel.data.errors import DataError
from nextpixel.errors import UsageError
from nextpixel.inference import normality, scores
from nextpixel.inference.complexity import file_bits
from nextpixel.inference.heat_maps import CLEAR, overlay
from nextpixel.inference.measuring import COMBINED
from nextpixel.inference.score_table import ScoreTable
from nextpixel.inference.scores import score_images
from nextpixel.settings.preparation import Preparation
from nextpixel.settings.requests import DataRequest
from nextpixel.settings.scores import FileFormat, ScoreRequest

SIZES = [(6, 6), (6, 6), (5, 7)]


def a_model(path: Path, seed: int = 0, **config: Any) -> Path:
    """A checkpoint of a tiny model of grey pictures of any size."""
    torch.manual_seed(seed)
    model = GatedPixelCNN(levels=4, features=4, layers=1, kernel_size=3, **config)
    how = Preparation(channels=1, levels=4, from_levels=256, ragged=True)
    save(model, path, card=ModelCard(preparation=how, classes=("a", "b")))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return a_model(tmp_path / "model.safetensors")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three good pictures of two sizes, one broken, and one of too few channels."""
    folder = tmp_path / "pictures"
    generator = np.random.default_rng(0)
    for k, size in enumerate(SIZES):
        write(folder / "good" / f"{k}.png", generator.integers(0, 256, size, dtype=np.uint8))
    (folder / "bad").mkdir()
    (folder / "bad" / "empty.png").write_bytes(b"")
    (folder / "bad" / "cut.png").write_bytes((folder / "good" / "0.png").read_bytes()[:50])
    return folder


def write(path: Path, x: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(x).save(path)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_one_row_and_its_scores_are_those_of_the_library(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, maps = tmp_path / "scores.csv", tmp_path / "maps"
    tokens = ["score", str(pictures), "--model", str(model), "--out", str(out)]
    main([*tokens, "--maps", str(maps), "--sheet", str(tmp_path / "sheet.png")])
    rows = table(out)
    assert [row["label"] for row in rows] == ["good"] * 3 + ["bad"] * 2
    anomalies = [float(row["anomaly"]) for row in rows[:3]]
    assert anomalies == sorted(anomalies, reverse=True)
    assert all("cannot be read" in row["reason"] and not row["z"] for row in rows[3:])
    assert capsys.readouterr().out.count("not scored:") == 2
    network = scores.open_trained(model).distribution
    for row in rows[:3]:
        x = np.asarray(Image.open(pictures / row["name"])) // 64
        found = anomaly_map(network, x)
        expected = {
            "nats": found.surprise.surprise.sum(),
            "z": found.surprise.z,
            "anomaly": found.score,
            "complexity_bits": found.surprise.surprise.sum() / np.log(2)
            - file_bits(x[None, None], 4)[0],
        }
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(float(value), rel=1e-5)
    assert len(list(maps.iterdir())) == 3 and (tmp_path / "sheet.png").exists()


def test_a_table_is_gone_on_with_and_another_model_is_refused(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "scores.csv", tmp_path / "whole.csv"
    data = DataRequest(data=pictures)
    score_images(model, ScoreRequest(out=whole), data=data)
    measure, seen = scores.measured, []

    def stopped(trained: Any, split: Any, *arguments: Any, **keywords: Any) -> Any:
        seen.extend(split.names)
        if len(seen) == len(SIZES):
            raise KeyboardInterrupt
        return measure(trained, split, *arguments, **keywords)

    monkeypatch.setattr(scores, "measured", stopped)
    with pytest.raises(KeyboardInterrupt):
        score_images(model, ScoreRequest(out=out), data=data)
    assert not out.exists()
    part = out.with_name("scores.csv.part")
    part.write_text(part.read_text() + "good/2.png,go")  # the disk had room for no more
    (pictures / "bad" / "empty.png").unlink()
    write(pictures / "bad" / "empty.png", np.zeros((6, 6), np.uint8))
    seen.clear()
    found = score_images(model, ScoreRequest(out=out), data=data)
    assert sorted(seen) == ["2.png", "empty.png"]  # what was repaired is scored, too
    assert len(found.rows) == 5 and list(found.failures) == ["bad/cut.png"]
    same = {row["name"]: row for row in table(whole) if not row["reason"]}
    assert {row["name"]: row for row in table(out) if row["name"] in same} == same
    assert not part.exists()
    other = a_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(UsageError, match="begun with other options: model"):
        score_images(other, ScoreRequest(out=out), data=data)


def test_scores_of_pictures_that_were_replaced_are_not_kept(model: Path, tmp_path: Path) -> None:
    """A name tells nothing: tomorrow's pictures have the names of today's."""
    flat, noise = np.zeros((6, 6), np.uint8), np.random.default_rng(0).integers(0, 256, (6, 6))
    names = ("a\rb.png", 'c,"d\n.png', "=1.png")  # cells of a table of their own
    for name in names:
        write(tmp_path / "set" / name, flat)
        os.utime(tmp_path / "set" / name, (0, 0))
    request, data = ScoreRequest(out=tmp_path / "s.csv"), DataRequest(data=tmp_path / "set")
    time.sleep(0.11)  # files may seem older than they are by a tenth of a second
    first = score_images(model, request, data=data)
    assert {row["name"] for row in table(tmp_path / "s.csv")} == set(names)
    write(tmp_path / "new.png", noise.astype(np.uint8))
    os.utime(tmp_path / "new.png", (0, 0))  # as a copy that keeps the time of the original
    (tmp_path / "new.png").replace(tmp_path / "set" / names[0])
    second = score_images(model, request, data=data)
    changed = {row["name"] for row in second.rows if row not in first.rows}
    assert changed == {names[0]} and len(second.rows) == 3
    np.save(tmp_path / "x.npy", flat[None])
    request, data = ScoreRequest(out=tmp_path / "x.csv"), DataRequest(data=tmp_path / "x.npy")
    score_images(model, request, data=data)
    score_images(model, request, data=data)
    np.save(tmp_path / "x.npy", noise[None])
    with pytest.raises(UsageError, match="begun with other pictures, which .*x.npy held then"):
        score_images(model, request, data=data)


def test_a_value_that_the_model_does_not_know_costs_one_row_of_an_array(
    model: Path, tmp_path: Path
) -> None:
    x = np.full((3, 5, 5), 9, np.int64)
    x[1, 2, 2] = 256
    np.save(tmp_path / "x.npy", x)
    found = score_images(
        model, ScoreRequest(out=tmp_path / "s.csv"), data=DataRequest(data=tmp_path / "x.npy")
    )
    assert [row["name"] for row in found.rows] == ["0", "2", "1"]
    np.save(tmp_path / "x.npy", x[1:2])
    with pytest.raises(SystemExit) as stop:
        main(["score", f"{tmp_path}/x.npy", "--model", str(model), "--out", f"{tmp_path}/t.csv"])
    assert stop.value.code == 2 and "256" in table(tmp_path / "t.csv")[0]["reason"]
    assert "256" in found.failures["1"] and "the model takes" in found.failures["1"]


def test_an_alarm_is_raised_at_the_rate_that_was_asked_for(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    normal = np.random.default_rng(0).integers(1, 3, (110, 1, 6, 6), dtype=np.uint8)
    strange = np.tile(np.uint8([[0, 3], [3, 0]]), (3, 3))[None, None]
    for name, x in (("normal", normal), ("strange", np.concatenate([normal[:4], strange]))):
        np.save(tmp_path / f"{name}.npy", (x * 64 + 32)[:, 0])
    tokens = ["score", str(tmp_path / "strange.npy"), "--model", str(model)]
    tokens += ["--out", str(tmp_path / "scores.csv"), "--fail-on-alarm", "--alarm-rate"]
    fit = ["--fit", "--normal", str(tmp_path / "normal.npy")]
    for rate, more, sentence in (
        ("0.05", [], "give --fit"),
        ("0.01", fit, "needs 99 normal pictures that were not trained on, but there are 55"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*tokens, rate, *more])
        assert stop.value.code == 2 and sentence in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([*tokens, "0.05"])
    assert stop.value.code == 1
    said = capsys.readouterr().out
    assert "at most 0.05 raise an alarm in expectation" in said
    assert "raise one with 99 (likely), 79 (residual)" in said  # there are 55
    assert "smaller or larger" not in said
    np.save(tmp_path / "wide.npy", np.zeros((2, 6, 9), np.uint8))
    main(["score", str(tmp_path / "wide.npy"), *tokens[2:4], "--out", str(tmp_path / "wide.csv")])
    said = capsys.readouterr().out
    assert "2 of 2 pictures are smaller or larger than all normal ones (6…6 × 6…6)" in said
    rows = table(tmp_path / "scores.csv")
    assert rows[0]["name"] == "4" and rows[0]["alarm"] == "yes"
    for row in rows:
        parts = {name: float(row[f"p_{name}"]) for name in COMBINED}
        assert float(row["p_value"]) >= min(parts.values())
        # Never above what Bonferroni's inequality allows.
        bonferroni = min(1.0, *(p / COMBINED[name] for name, p in parts.items()))
        assert float(row["p_value"]) <= bonferroni
        assert row["alarm"] == ("yes" if float(row["p_value"]) <= 0.05 else "no")
    # The likelier, the stranger: the other side of what the anomaly score looks at.
    likely = [float(row["p_likely"]) for row in sorted(rows, key=lambda r: float(r["nats"]))]
    assert likely == sorted(likely) and likely[0] < 0.5 < likely[-1]
    place = model.with_suffix(".normal") / "calibration.safetensors"
    known = load_calibration(place).scores
    save_calibration(calibrate({k: v for k, v in known.items() if k != "likely"}), place)
    with pytest.raises(UsageError, match="lacks the scores.*likely.*fit again"):
        score_images(model, ScoreRequest(out=tmp_path / "old.csv"), data=DataRequest())
    save_calibration(calibrate(known), place)
    against = [*tokens[:2], "--model", str(model), "--against", str(tmp_path / "normal.npy")]
    for wrong in (["--alarm-rate", "0.05"], ["--maps", "m"], ["--out", "x.csv"]):
        with pytest.raises(SystemExit) as stop:
            main([*against, *wrong])
        assert stop.value.code == 2 and "is for a table of scores" in capsys.readouterr().err
    main(against)
    assert "p = 0.0" not in capsys.readouterr().out  # four of five are drawn from the other

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(normality, "save_calibration", stopped)
        refit = ScoreRequest(out=tmp_path / "n.csv", fit=True, normal=tmp_path / "normal.npy")
        score_images(model, refit, data=DataRequest(data=tmp_path / "normal.npy"))
    with pytest.raises(CheckpointError, match="does not hold what is normal"):
        score_images(model, data=DataRequest(data=tmp_path / "normal.npy"))


def test_a_copy_of_normal_pictures_raises_no_alarm(tmp_path: Path) -> None:
    """A black frame is scored alone, and the normal ones together, where rounding differs."""
    model = a_model(tmp_path / "model.safetensors")
    for name, count, value in (("normal", 66, 0), ("black", 1, 0), ("grey", 1, 128)):
        np.save(tmp_path / f"{name}.npy", np.full((count, 8, 8), value, np.uint8))
    found = {}
    for name in ("black", "grey"):
        request = ScoreRequest(
            out=tmp_path / f"{name}.csv", fit=True, normal=tmp_path / "normal.npy", alarm_rate=0.1
        )
        data = DataRequest(data=tmp_path / f"{name}.npy")
        found[name] = score_images(model, request, data=data)
    assert [found[name].rows[0]["p_value"] for name in found] == [1.0, 1 / 34]
    assert found["black"].rows[0]["typicality"] < 1e-3 < found["grey"].rows[0]["typicality"] < 1e3


def test_complexity_is_the_size_of_a_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imagecodecs")
    x = np.random.default_rng(0).integers(0, 256, (3, 6, 6), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    data = DataRequest(data=tmp_path / "x.npy")
    found = {
        name: score_images(
            model, ScoreRequest(out=tmp_path / f"{name}.csv", complexity=name), data=data
        )
        for name in get_args(FileFormat)
    }
    for name, scored in found.items():
        for row in scored.rows:
            bits = file_bits(x[int(row["name"])][None, None] // 64, 4, name)[0]
            assert bits % 8 == 0
            assert row["complexity_bits"] == pytest.approx(row["nats"] / np.log(2) - bits)
    with pytest.raises(UsageError, match="other options: complexity"):
        score_images(model, ScoreRequest(out=tmp_path / "png.csv", complexity="jpeg-xl"), data=data)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(DataError, match=r"nextpixel\[codec-baselines\]"):
        score_images(model, ScoreRequest(out=tmp_path / "n.csv", complexity="jpeg-xl"), data=data)


def test_a_label_has_the_probability_that_the_classifier_gives_it(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model.safetensors", condition=ClassCondition(2))
    x = np.random.default_rng(1).integers(0, 256, (2, 6, 6), dtype=np.uint8)
    for name, one in zip(("a/0.png", "b/1.png"), x, strict=True):
        write(tmp_path / "set" / name, one)
    write(tmp_path / "set" / "c" / "2.png", x[0])
    request = ScoreRequest(out=tmp_path / "s.parquet", sort="p_label")
    if not _has_pyarrow():
        request = replace(request, out=tmp_path / "s.csv")
    found = score_images(model, request, data=DataRequest(data=tmp_path / "set"))
    log_p = class_log_probabilities(scores.open_trained(model).distribution, x[:, None] // 64)
    rows = {row["name"]: row for row in found.rows}
    for k, name in enumerate(("a/0.png", "b/1.png")):
        assert rows[name]["p_label"] == pytest.approx(float(log_p[k, k].exp()), rel=1e-6)
        assert rows[name]["class"] == "ab"[int(log_p[k].argmax())]
    assert rows["c/2.png"]["p_label"] is None and found.rows[-1]["name"] == "c/2.png"
    assert rows["c/2.png"]["nats"] == rows["a/0.png"]["nats"]
    again = score_images(model, request, data=DataRequest(data=tmp_path / "set"))
    assert again.rows == found.rows


def test_nothing_of_others_is_replaced_and_colours_do_not_depend_on_the_picture(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("name\nprecious\n")
    with pytest.raises(UsageError, match="does not say what its scores"):
        score_images(
            model, ScoreRequest(out=tmp_path / "mine.csv"), data=DataRequest(data=pictures)
        )
    assert (tmp_path / "mine.csv").read_text() == "name\nprecious\n"
    with pytest.raises(FileNotFoundError):
        request = ScoreRequest(out=tmp_path / "s.csv", maps=tmp_path / "none")
        score_images(model, request, data=DataRequest(data=tmp_path / "none"))
    assert not (tmp_path / "none").exists()  # a folder of maps is no source
    x = np.random.default_rng(0).integers(0, 4, (1, 6, 6))
    z = np.full((6, 6), CLEAR)
    z[0, 0] = 5.0
    grey = overlay(x, z, 4)
    assert (grey[:, 1:] == grey[:1, 1:]).all()
    z[5, 5] = 50.0
    assert (overlay(x, z, 4)[:, :5] == grey[:, :5]).all()
    with pytest.raises(UsageError, match="damaged, or no table"):
        place = tmp_path / "t.csv"
        ScoreTable(place, ("name", "z", "reason"), {})
        place.write_text("name,y,reason\na,1,\n")
        ScoreTable(place, ("name", "z", "reason"), {})


def test_every_option_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "out": "a.parquet",
        "sort": "z",
        "fit": True,
        "fitted": "f",
        "normal": "n",
        "alarm_rate": 0.25,
        "fail_on_alarm": True,
        "background": "b",
        "complexity": "jpeg-xl",
        "classes": False,
        "mirrored": True,
        "maps": "m",
        "top": 3,
        "sheet": "s.png",
    }
    assert given.keys() == {field.name for field in fields(ScoreRequest)}
    tokens = []
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        tokens += (
            [flag if value else flag.replace("--", "--no-")]
            if value in (True, False)
            else [
                flag,
                str(value),
            ]
        )
    got: dict[str, Any] = {}

    def called(model: str, request: ScoreRequest, **keywords: Any) -> None:
        got.update(keywords, model=model, request=request)
        raise UsageError("reached")

    monkeypatch.setattr(scores, "score_images", called)
    with pytest.raises(SystemExit):
        main(["score", "x", "--model", "y", *tokens, "--condition-maps", "c", "--split", "valid"])
    assert got["request"] == ScoreRequest(**given) != ScoreRequest()
    assert (got["model"], got["data"].data, got["data"].maps) == ("y", "x", "c")


def test_two_samples_of_one_distribution_have_uniform_p_values() -> None:
    generator = np.random.default_rng(0)
    p = np.array(
        [
            two_samples(*generator.integers(0, 5, (2, 12)), permutations=99, seed=k).p_value
            for k in range(200)
        ]
    )
    # P(p ≤ α) ≤ α: of 200, more than 17 of 0.05 or 34 of 0.1 is a false alarm of at most 1 in 100.
    assert (p <= 0.05).sum() <= 17 and (p <= 0.1).sum() <= 34
    shifted = two_samples(generator.normal(size=50), generator.normal(size=60) + 2)
    assert shifted.p_value == 1e-4 and shifted.higher < 0.2


def _has_pyarrow() -> bool:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        return False
    return True
