"""Baselines for defects: maps of how strange each pixel of an image is, by other methods.

Every function takes good images (N, H, W) and images to judge (M, H, W), and returns maps
(M, H, W), or one number for each image. They are small versions of known methods, on one thread:

- `pixel_gaussian`: squared deviation from the mean of good images at each pixel, in variances;
- `pca`: squared error of the reconstruction from the components that hold 90 % of the variance;
- `auto_encoder`: squared error of a convolutional auto-encoder of crops;
- `nearest_patches`: distance of each patch from the nearest of 4,000 of good images, of grey
  values or of the features of two random convolutions (Roth et al., *Towards Total Recall in
  Industrial Anomaly Detection*, 2022, which takes the features of a pretrained network);
- `isolation_forest`: scikit-learn's, on 32 principal components; one number for each image.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["auto_encoder", "isolation_forest", "nearest_patches", "pca", "pixel_gaussian"]

Images = NDArray[np.floating]
MEMORY, STRIDE, SIDE = 4000, 4, 9


def pixel_gaussian(good: Images, test: Images) -> Images:
    return ((test - good.mean(axis=0)) / (good.std(axis=0) + 1)) ** 2


def components(good: Images, share: float) -> tuple[Images, Images]:
    """The mean, and the principal components that hold a share of the variance, as rows."""
    flat = good.reshape(len(good), -1)
    mean = flat.mean(axis=0)
    _, values, axes = np.linalg.svd(flat - mean, full_matrices=False)
    held = np.cumsum(values**2) / (values**2).sum()
    return mean, axes[: np.searchsorted(held, share) + 1]


def pca(good: Images, test: Images) -> Images:
    mean, axes = components(good, 0.9)
    centred = test.reshape(len(test), -1) - mean
    rest: Images = (centred - centred @ axes.T @ axes).reshape(test.shape)
    return rest**2


def isolation_forest(good: Images, test: Images) -> Images:
    from sklearn.ensemble import IsolationForest

    mean, axes = components(good, 1)
    low, seen = ((x.reshape(len(x), -1) - mean) @ axes[:32].T for x in (good, test))
    forest = IsolationForest(n_estimators=300, random_state=0).fit(low)
    return -forest.score_samples(seen)


def auto_encoder(good: Images, test: Images, *, steps: int = 400) -> Images:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 24, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(24, 4, 3, 1, 1),  # a quarter of the numbers of a crop
        nn.ConvTranspose2d(4, 24, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 3, 1, 1),
    )
    mean, deviation = float(good.mean()), float(good.std())
    x = torch.from_numpy((good - mean) / deviation).float()[:, None]
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        crops = []
        for _ in range(16):
            k, top, left = (
                int(torch.randint(n, (), generator=generator))
                for n in (len(x), x.shape[2] - 47, x.shape[3] - 47)
            )
            crops.append(x[k, :, top : top + 48, left : left + 48])
        batch = torch.stack(crops)
        loss = functional.mse_loss(network(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = []
    with torch.no_grad():
        for image in test:
            y = torch.from_numpy((image - mean) / deviation).float()[None, None]
            padded = functional.pad(y, (0, -y.shape[3] % 4, 0, -y.shape[2] % 4), mode="replicate")
            again = network(padded)[..., : y.shape[2], : y.shape[3]]
            found.append((again - y)[0, 0].square().numpy())
    return np.stack(found)


def nearest_patches(good: Images, test: Images, *, random_features: bool) -> Images:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((24, 1, 5, 5), (32, 24, 5, 5))]

    def features(image: Images) -> Tensor:
        """Of the patches of an image, (rows, columns, numbers)."""
        x = torch.from_numpy((image - good.mean()) / good.std()).float()[None, None]
        if not random_features:
            patches = functional.unfold(x, SIDE, padding=SIDE // 2, stride=STRIDE)
            rows, columns = -(-x.shape[2] // STRIDE), -(-x.shape[3] // STRIDE)
            return patches[0].T.reshape(rows, columns, -1)
        for weight in weights:
            x = functional.conv2d(functional.pad(x, (2, 2, 2, 2), "reflect"), weight).relu_()
            x = x / (weight[0].numel() / 2) ** 0.5
        pooled = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), "reflect"), 3, 1)
        return pooled[0, :, ::STRIDE, ::STRIDE].permute(1, 2, 0)

    every = torch.cat([features(image).flatten(0, 1) for image in good])
    bank = every[torch.randperm(len(every), generator=generator)[:MEMORY]]
    found = []
    for image in test:
        near = features(image)
        distance = torch.cdist(near.flatten(0, 1), bank).amin(dim=1).view(1, 1, *near.shape[:2])
        size = image.shape
        found.append(functional.interpolate(distance, size, mode="bilinear")[0, 0].numpy())
    return np.stack(found)
