"""How near are samples to real images, in the features of a classifier trained on the real ones?

- Fréchet distance (Heusel et al., GANs trained by a two time-scale update rule, 2017): between the
  normal distributions of equal mean and covariance. Of 1000 images it is biased upwards, so only
  distances of equally many compare.
- Improved precision and recall (Kynkäänniemi et al., 2019): the share of samples that lie within
  the reach of a real image, and of real images within the reach of a sample; an image reaches as
  far as its k-th nearest neighbour.

The features are not Inception's: the numbers compare with each other, not with published ones.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["classifier", "features", "frechet_distance", "precision_recall", "scaled"]

FEATURES = 64


def scaled(x: Tensor, levels: int) -> Tensor:
    """Levels 0 … levels-1 as numbers -1 … 1."""
    return x * (2 / (levels - 1)) - 1


def classifier(
    path: Path, x: Tensor, labels: Tensor, *, levels: int, epochs: int = 3
) -> nn.Sequential:
    """A small classifier with 64 features before its last layer, kept in PATH."""
    torch.manual_seed(0)
    convolutions = [
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
    ]
    hidden = [nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 49, FEATURES), nn.ReLU()]
    network = nn.Sequential(*convolutions, *hidden, nn.Linear(FEATURES, 10))
    if path.exists():
        network.load_state_dict(torch.load(path))
        return network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(network(scaled(x[rows], levels)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(network.state_dict(), path)
    return network.eval()


@torch.no_grad()
def features(network: nn.Sequential, x: Tensor, *, levels: int) -> Tensor:
    """What the classifier's last layer reads, (N, 64), float64."""
    return torch.cat([network[:-1](scaled(part, levels)) for part in x.split(500)]).double()


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½), with means m and covariances C of the rows.

    C_a C_b has the eigenvalues of the symmetric C_a^½ C_b C_a^½, so no root of an unsymmetric
    matrix is needed.
    """
    first, second = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    trace_of_root = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(means + first.trace() + second.trace() - 2 * trace_of_root)


def precision_recall(real: Tensor, samples: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall of the samples' features, each a share between 0 and 1."""
    return _share_within_reach(samples, real, k), _share_within_reach(real, samples, k)


def _share_within_reach(points: Tensor, centres: Tensor, k: int) -> float:
    # The nearest to a centre is itself, at distance 0.
    reach = _distances(centres, centres).kthvalue(k + 1, dim=1).values
    return float((_distances(points, centres) <= reach).any(dim=1).double().mean())


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Without the expansion of the square, which rounds small distances, equal points are at 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
