"""Triplets, verification and interpolation, held against plain loops."""

import itertools

import numpy as np
import pytest
import torch
from cases import build

from nextpixel import sample
from nextpixel.interpolation import between, interpolate
from nextpixel.models.embedding import Embedding, embed
from nextpixel.splits import Split
from nextpixel.triplets import EmbeddingConfig, balanced_rows, train_embedding, triplet_loss, verify


def test_the_loss_is_that_of_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(12, 3, generator=generator, dtype=torch.float64), dim=1)
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
        assert sorted(counts.tolist()) == [0, 0, 3, 3, 3, 3] and counts[2] == 0  # class 2 has one image only
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
        return float(np.mean(np.array(same) <= threshold) + np.mean(np.array(other) > threshold)) / 2

    assert found.accuracy == pytest.approx(max(accuracy(t) for t in [-1.0, *same, *other]))
    assert verify(vectors, labels, threshold=1.0).accuracy == pytest.approx(accuracy(1.0))
    with pytest.raises(ValueError, match="pairs of the same class"):
        verify(vectors, np.arange(14))


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
    from nextpixel.triplets import _varied

    x = np.arange(2 * 4 * 5).reshape(2, 1, 4, 5)
    moved = _varied(x, EmbeddingConfig(shift=2, flip=True), np.random.default_rng(0))
    for image, original in zip(moved, x, strict=True):
        padded = [np.pad(o, ((0, 0), (2, 2), (2, 2)), mode="edge") for o in (original, original[..., ::-1])]
        windows = [p[:, r : r + 4, c : c + 5] for p in padded for r in range(5) for c in range(5)]
        assert any(np.array_equal(image, window) for window in windows)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(images=np.zeros((4, 1, 8, 8), np.uint8)), "no classes"),
        (Split(images=np.zeros((4, 1, 8, 8), np.uint8), labels=np.array([0, 0, 1, 2])), "fewer than two classes"),
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
    torch.testing.assert_close(between(first, 3 * first, 3, keep_length=True), torch.tensor([[1.0, 0], [2, 0], [3, 0]]))
    with pytest.raises(ValueError, match=r"steps \(=1\) must be at least 2"):
        between(first, last, 1)


def test_an_interpolation_ends_at_the_samples_of_its_ends() -> None:
    """And one random number decides a sub-pixel at every step: pictures change where the law does."""
    model = build("gated-vector")
    first, last = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    row = interpolate(model, first, last, (4, 5), steps=6, generator=torch.Generator().manual_seed(3))
    for end, vector in ((0, first), (5, last)):
        alone = sample(model, 1, (4, 5), condition=vector, generator=torch.Generator().manual_seed(3))
        assert torch.equal(row[end], alone[0])
    same = interpolate(model, first, first, (4, 5), steps=6)
    assert (same == same[:1]).all()
    with pytest.raises(ValueError, match="not one vector"):
        interpolate(build("gated-classes"), first, last, (4, 5))
