"""Triplets, verification and interpolation, held against plain loops."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import build

from nextpixel import sample
from nextpixel.cli.app import main
from nextpixel.data.splits import Split
from nextpixel.inference.interpolation import between, interpolate
from nextpixel.models.embedding import Embedding, embed
from nextpixel.settings.training import EmbeddingConfig
from nextpixel.training.embedding import (
    balanced_rows,
    train_embedding,
    triplet_loss,
    verify,
)


def test_the_loss_is_that_of_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(
        torch.randn(12, 3, generator=generator, dtype=torch.float64), dim=1
    )
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4])
    for margin in (0.2, 1.5):
        terms = []
        for a, p in itertools.permutations(range(12), 2):
            if labels[a] != labels[p]:
                continue
            d = lambda i, j: float(((vectors[i] - vectors[j]) ** 2).sum())  # noqa: E731
            negatives = [d(a, n) for n in range(12) if labels[n] != labels[a]]
            beyond = [value for value in negatives if value > d(a, p)]
            negative = min(beyond) if beyond else max(negatives)
            terms.append(max(0.0, d(a, p) - negative + margin))
        loss, active = triplet_loss(vectors, labels, margin=margin)
        assert float(loss) == pytest.approx(np.mean(terms), rel=1e-9)
        assert active == pytest.approx(np.mean(np.array(terms) > 0))
    with pytest.raises(ValueError, match="needs two images of a class"):
        triplet_loss(vectors[:2], torch.tensor([0, 0]))


def test_batches_are_balanced() -> None:
    labels = np.repeat(np.arange(6), [5, 2, 1, 9, 3, 3])
    for seed in range(20):
        rows = balanced_rows(labels, 4, 3, np.random.default_rng(seed))
        counts = np.bincount(labels[rows], minlength=6)
        assert (
            sorted(counts.tolist()) == [0, 0, 3, 3, 3, 3] and counts[2] == 0
        )  # class 2 has one image only
    assert len(balanced_rows(labels, 100, 2, np.random.default_rng(0))) == 10


def test_verification_is_that_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randint(3, (14, 2), generator=generator).float()  # with ties
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 0, 2])
    pairs = list(itertools.combinations(range(14), 2))
    distance = {(i, j): float(((vectors[i] - vectors[j]) ** 2).sum()) for i, j in pairs}
    same = [distance[pair] for pair in pairs if labels[pair[0]] == labels[pair[1]]]
    other = [distance[pair] for pair in pairs if labels[pair[0]] != labels[pair[1]]]
    auroc = np.mean([(s < o) + 0.5 * (s == o) for s in same for o in other])
    found = verify(vectors, labels)
    assert (found.pairs, found.same) == (len(pairs), len(same))
    assert found.auroc == pytest.approx(auroc)

    def accuracy(threshold: float) -> float:
        return (
            float(np.mean(np.array(same) <= threshold) + np.mean(np.array(other) > threshold)) / 2
        )

    assert found.accuracy == pytest.approx(max(accuracy(t) for t in [-1.0, *same, *other]))
    assert verify(vectors, labels, threshold=1.0).accuracy == pytest.approx(accuracy(1.0))
    with pytest.raises(ValueError, match="pairs of the same class"):
        verify(vectors, np.arange(14))


def test_verification_keeps_no_vectors_of_pairs() -> None:
    """Memory holds one number for each pair: no tensor has more entries than there are pairs."""

    class Largest(torch.overrides.TorchFunctionMode):
        entries = 0

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            self.entries = max(
                self.entries, result.numel() if isinstance(result, torch.Tensor) else 0
            )
            return result

    vectors, labels = (
        torch.randn(200, 64, generator=torch.Generator().manual_seed(0)),
        np.arange(200) % 7,
    )
    with Largest() as largest:
        found = verify(vectors, labels)
    assert found.images == 200 and found.pairs == 200 * 199 // 2 == largest.entries
    first, second = np.triu_indices(200, k=1)
    distance = (vectors[first] - vectors[second]).square().sum(dim=1).double().numpy()
    same = labels[first] == labels[second]
    near, far = distance[same][:, None], distance[~same][None]
    auroc = np.mean((near < far) + 0.5 * (near == far))
    assert found.auroc == pytest.approx(auroc, rel=1e-12)
    said = distance <= found.threshold
    assert found.accuracy == pytest.approx(
        (said[same].mean() + (~said)[~same].mean()) / 2, rel=1e-12
    )


def test_of_many_images_some_are_verified() -> None:
    vectors, labels = (
        torch.randn(300, 4, generator=torch.Generator().manual_seed(0)),
        np.arange(300) % 3,
    )
    found = verify(vectors, labels, most=100)
    assert (found.images, found.pairs) == (100, 4950)
    assert found == verify(vectors, labels, most=100) != verify(vectors, labels, most=100, seed=1)
    whole = verify(vectors, labels)
    assert whole == verify(vectors, labels, most=300) and abs(whole.auroc - found.auroc) < 0.05


def labelled(path: Path, classes: int, each: int = 6) -> str:
    """An .npz of classes of one shade each, whose test pictures are all of class 0."""
    labels = np.repeat(np.arange(classes), each)
    noise = np.random.default_rng(0).integers(30, size=(len(labels), 6, 6))
    x = (noise + 40 * labels[:, None, None]).astype(np.uint8)
    np.savez(path, train_images=x, train_labels=labels, test_images=x[:3], test_labels=labels[:3])
    return str(path)


def test_why_a_figure_is_missing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A share of few classes is two; without known classes the unseen have their own threshold."""
    short = [
        "--steps",
        "1",
        "--outputs",
        "2",
        "--features",
        "2",
        "--validation",
        "0",
        "--device",
        "cpu",
    ]
    few, four = labelled(tmp_path / "few.npz", 3), labelled(tmp_path / "four.npz", 4)

    def said(*arguments: str) -> str:
        main(["embed", *arguments, *short, "--out", str(tmp_path / "e.safetensors")])
        return capsys.readouterr().out

    text = said(four)
    assert "trained on 2 classes, 2 held out" in text
    assert "known classes, other images: no figure: verification needs pairs" in text
    assert "classes never seen: AUROC" in text and "at their own best threshold" in text
    figures = json.loads(said(four, "--json"))
    assert figures["unseen"]["own_threshold"] and "images of" in figures["known"]["missing"]
    assert "trained on 3 classes, 0 held out" in (text := said(few))
    assert "classes never seen: no figure: verification needs pairs" in text
    assert "1 held out" in (text := said(four, "--held-out", "1")) and "images of 1 classes" in text
    assert "never seen" not in said(four, "--held-out", "0")
    for wrong in ("2.5", "-1", "nan", "inf"):
        with pytest.raises(SystemExit) as stop:
            said(four, f"--held-out={wrong}")
        assert stop.value.code == 2 and f"--held-out {wrong} must be a share" in " ".join(
            "".join(capsys.readouterr()).split()
        )


def stripes(classes: range, each: int, seed: int) -> Split:
    """Noisy images whose class is the place of a bright column and row."""
    generator = np.random.default_rng(seed)
    images = generator.integers(4, size=(len(classes) * each, 1, 8, 8))
    labels = np.repeat(np.array(classes), each)
    for image, label in zip(images, labels, strict=True):
        image[0, :, label % 8], image[0, label // 8] = 9, 9
    return Split(images=images.astype(np.uint8), labels=labels)


def test_classes_that_were_never_seen_are_told_apart() -> None:
    torch.manual_seed(0)
    model = Embedding(levels=10, size=(8, 8), outputs=8, features=8)
    config = EmbeddingConfig(steps=150, classes=12, each=4, learning_rate=3e-3)
    steps = list(train_embedding(model, stripes(range(40), 6, 0), config))
    assert [step.step for step in steps] == list(range(1, 151)) and steps[-1].loss < steps[0].loss
    unseen = stripes(range(40, 60), 6, 1)
    vectors = embed(model, torch.from_numpy(np.asarray(unseen.images)).long())
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(unseen)))
    assert unseen.labels is not None and verify(vectors, unseen.labels).auroc > 0.9


def test_training_is_a_function_of_the_seed() -> None:
    ends = []
    for seed in (0, 0, 1):
        torch.manual_seed(5)
        model = Embedding(levels=10, size=(8, 8), outputs=4, features=2, dropout=0.3)
        config = EmbeddingConfig(steps=3, classes=4, each=2, flip=True, shift=1, seed=seed)
        list(train_embedding(model, stripes(range(6), 4, 0), config))
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_mirrors_and_shifts_are_of_the_images() -> None:
    from nextpixel.training.embedding import _varied

    x = np.arange(2 * 4 * 5).reshape(2, 1, 4, 5)
    moved = _varied(x, EmbeddingConfig(shift=2, flip=True), np.random.default_rng(0))
    for image, original in zip(moved, x, strict=True):
        padded = [
            np.pad(o, ((0, 0), (2, 2), (2, 2)), mode="edge")
            for o in (original, original[..., ::-1])
        ]
        windows = [p[:, r : r + 4, c : c + 5] for p in padded for r in range(5) for c in range(5)]
        assert any(np.array_equal(image, window) for window in windows)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(images=np.zeros((4, 1, 8, 8), np.uint8)), "no classes"),
        (
            Split(images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.array([0, 0, 1, 2])),
            "fewer than two classes",
        ),
    ],
)
def test_what_cannot_be_learnt_from(split: Split, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        next(train_embedding(Embedding(levels=4, size=(8, 8)), split, EmbeddingConfig(steps=1)))


def test_the_line_between_two_vectors() -> None:
    first, last = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    line = between(first, last, 5)
    torch.testing.assert_close(line[[0, 2, 4]], torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
    torch.testing.assert_close(between(first, last, 5, keep_length=True).norm(dim=1), torch.ones(5))
    torch.testing.assert_close(
        between(first, 3 * first, 3, keep_length=True), torch.tensor([[1.0, 0], [2, 0], [3, 0]])
    )
    with pytest.raises(ValueError, match="steps= must be at least 2, not 1"):
        between(first, last, 1)


def test_an_interpolation_ends_at_the_samples_of_its_ends() -> None:
    """One random number decides a sub-pixel at every step: images change where distributions do."""
    model = build("gated-vector")
    first, last = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    row = interpolate(
        model, first, last, (4, 5), steps=6, generator=torch.Generator().manual_seed(3)
    )
    for end, vector in ((0, first), (5, last)):
        alone = sample(
            model, 1, (4, 5), condition=vector, generator=torch.Generator().manual_seed(3)
        )
        assert torch.equal(row[end], alone[0])
    same = interpolate(model, first, first, (4, 5), steps=6)
    assert (same == same[:1]).all()
    with pytest.raises(ValueError, match="not conditioned on any"):
        interpolate(build("gated-classes"), first, last, (4, 5))
