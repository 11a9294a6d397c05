"""How does a PixelCNN compare with other kinds of model of equal size on the same data?

    python experiments/other_kinds.py FASHION.npz [--minutes 10]

A Gated PixelCNN, a convolutional VAE and a DCGAN of about 150,000 parameters each, on Fashion-MNIST
of 16 levels, each with the average of its last weights. The PixelCNN trains for these minutes on
one thread, and the others for the processor time that this gave it, for the machine may be shared.
They are compared on what they have in common:

- Bits/dim. The PixelCNN's are exact. The VAE has the same kind of likelihood, a softmax over the 16
  levels of every pixel, but only bounds: the ELBO, and the importance-weighted one (Burda et al.,
  Importance weighted autoencoders, 2016), which is tighter. The GAN has no likelihood.
- Samples: see sample_quality.py. The reference is 1000 test images; 1000 other test images show
  what is attainable.
- Processor seconds per sample, on one thread.

Writes experiments/results/other_kinds.json and .png: real images, PixelCNN, VAE, GAN, two rows
each. What is trained is kept in runs/other-*-MINUTES, so a second run goes on from there.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, trained, write
from plots import framed
from sample_quality import classifier, features, frechet_distance, precision_recall, scaled
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy, softplus
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel

from nextpixel import Preparation, TrainConfig, load, load_data, sample
from nextpixel.data.image_files import grid
from nextpixel.models.core import ImageModel
from nextpixel.scoring import score
from nextpixel.settings.choice import ModelChoice
from nextpixel.training.metrics import read_metrics

# Validations would be taken off the PixelCNN's minutes, and choose its weights; the others have
# none.
TRAINING = {
    "optimizer": "muon",
    "batch_size": 32,
    "precision": "float32",
    "evaluate_every": 1_000_000,
}
MODEL = ModelChoice(network={"features": 36, "layers": 6, "kernel_size": 3, "first_kernel_size": 7})
LEVELS = 16
CODE = 32
BATCH = 64
SCORED, IMPORTANCE_SAMPLES = 2000, 64
SAMPLES = 1000

Draw = Callable[[int, torch.Generator], Tensor]


class VAE(nn.Module):
    """z normal; p(x | z) a softmax for every pixel; q(z | x) normal with independent entries."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 32, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.Conv2d(32, 48, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.Conv2d(48, 16, 1), nn.Flatten(), nn.Linear(16 * 49, 2 * CODE)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(CODE, 16 * 49), nn.SiLU(), nn.Unflatten(1, (16, 7, 7))),
            *(nn.ConvTranspose2d(16, 48, 4, stride=2, padding=1), nn.SiLU()),
            *(nn.ConvTranspose2d(48, 32, 4, stride=2, padding=1), nn.SiLU()),
            nn.Conv2d(32, LEVELS, 3, padding=1),
        )

    def posterior(self, x: Tensor) -> Normal:
        """Of z given x, q(z | x)."""
        mean, log_scale = self.encoder(scaled(x, LEVELS)).chunk(2, dim=1)
        return Normal(mean, log_scale.exp())

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Log p(x | z) in nats, (B,)."""
        return -cross_entropy(self.decoder(z), x[:, 0], reduction="none").sum(dim=(1, 2))

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Images drawn from the model."""
        p = self.decoder(torch.randn(n, CODE, generator=generator)).softmax(dim=1).movedim(1, 3)
        return torch.multinomial(p.flatten(0, 2), 1, generator=generator).view(n, 1, 28, 28)

    def draw_likeliest(self, n: int, generator: torch.Generator) -> Tensor:
        """The likeliest level of every pixel, given a drawn z: smoother, but no draw from p(x)."""
        return self.decoder(torch.randn(n, CODE, generator=generator)).argmax(dim=1, keepdim=True)


class Generator(nn.Module):
    """Normal numbers to images, as in DCGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(CODE, 48 * 49), nn.Unflatten(1, (48, 7, 7)), nn.BatchNorm2d(48), nn.ReLU()),
            *(nn.ConvTranspose2d(48, 56, 4, stride=2, padding=1), nn.BatchNorm2d(56), nn.ReLU()),
            *(nn.ConvTranspose2d(56, 30, 4, stride=2, padding=1), nn.BatchNorm2d(30), nn.ReLU()),
            nn.Conv2d(30, 1, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Whole levels, whose gradient passes the rounding as if it were not there.

        Otherwise the discriminator would tell real images by their whole levels alone.
        """
        x = (LEVELS - 1) * self.layers(z).sigmoid()
        return x + (x.round() - x).detach()

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Images drawn from the model."""
        return self(torch.randn(n, CODE, generator=generator)).long()


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        *(spectral_norm(nn.Conv2d(1, 32, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)),
        *(spectral_norm(nn.Conv2d(32, 72, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)),
        *(spectral_norm(nn.Conv2d(72, 96, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), spectral_norm(nn.Linear(96 * 9, 1))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training, for each model")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    data = load_data(asked.data, Preparation(levels=LEVELS, validation=2000))
    train, test = tensor(data.train), tensor(data.test)

    ending = f"{asked.minutes:g}"
    pixel_cnn, training = trained_pixel_cnn(f"other-pixelcnn-{ending}", asked.data, asked.minutes)
    seconds = training["processor_seconds"]
    vae, vae_training = kept(f"other-vae-{ending}", VAE, fit_vae, train, seconds)
    gan, gan_training = kept(f"other-gan-{ending}", Generator, fit_gan, train, seconds)
    models: dict[str, dict[str, Any]] = {
        "pixelcnn": {"parameters": size(pixel_cnn), **training},
        "vae": {
            "parameters": size(vae),
            "parameters_of_decoder": size(vae.decoder),
            **vae_training,
        },
        "gan": {
            "parameters": size(gan),
            "parameters_of_discriminator": size(discriminator()),
            **gan_training,
        },
    }
    scored = test[:SCORED]
    models["pixelcnn"]["exact"] = bits_per_dim(
        torch.cat([score(pixel_cnn, x) for x in scored.split(100)])
    )
    elbo, importance_weighted = bounds(vae, scored)
    models["vae"] |= {
        "elbo": bits_per_dim(elbo),
        "importance_weighted": bits_per_dim(importance_weighted),
    }
    print(models, flush=True)

    draws: dict[str, Draw] = {
        "pixelcnn": lambda n, generator: sample(pixel_cnn, n, (28, 28), generator=generator),
        "vae": vae.draw,
        "vae_likeliest": vae.draw_likeliest,
        "gan": gan.draw,
    }
    with torch.no_grad():
        drawn = {
            name: draw(SAMPLES, torch.Generator().manual_seed(0)) for name, draw in draws.items()
        }
        times = {
            name: {n: seconds_per_sample(draw, n) for n in (1, 64)} for name, draw in draws.items()
        }
    network = classifier(
        Path("runs/other-classifier.pt"), train, torch.from_numpy(data.train.labels), levels=LEVELS
    )
    with torch.no_grad():
        right = network(scaled(test, LEVELS)).argmax(dim=1) == torch.from_numpy(data.test.labels)
    real = features(network, test[:SAMPLES], levels=LEVELS)
    qualities = {}
    for name, x in {"real": test[SAMPLES : 2 * SAMPLES], **drawn}.items():
        found = features(network, x, levels=LEVELS)
        precision, recall = precision_recall(real, found)
        qualities[name] = {
            "frechet": frechet_distance(real, found),
            "precision": precision,
            "recall": recall,
        }
        print(name, qualities[name], times.get(name), flush=True)
    shown = torch.cat([test[:24], drawn["pixelcnn"][:24], drawn["vae"][:24], drawn["gan"][:24]])
    RESULTS.mkdir(exist_ok=True)
    sheet = grid(shown.numpy(), columns=12, levels=LEVELS, scale=2)
    kinds = ("real images", "Gated PixelCNN", "VAE, drawn", "GAN")
    framed(sheet, RESULTS / "other_kinds.png", rows=kinds)
    results = {
        "minutes": asked.minutes,
        "options": {"network": dict(MODEL.network), "training": TRAINING},
        "images_scored": SCORED,
        "importance_samples": IMPORTANCE_SAMPLES,
        "models": models,
        "classifier_on_real_test_images": float(right.double().mean()),
        "samples": SAMPLES,
        "sample_quality": qualities,
        "processor_seconds_per_sample_by_batch": times,
    }
    write("other_kinds", results)


def tensor(split: Any) -> Tensor:
    return torch.from_numpy(np.asarray(split.images).astype(np.int64))


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def trained_pixel_cnn(
    name: str, source: str, minutes: float
) -> tuple[ImageModel, dict[str, float]]:
    """The model and the cost of its training.

    The share of a processor that the training got is kept beside the run.
    """
    kept_share = Path("runs") / f"{name}.share"
    began, spent = time.monotonic(), time.process_time()
    run = trained(
        name,
        source,
        MODEL,
        TrainConfig(**TRAINING, minutes=minutes),
        conditional=False,
        levels=LEVELS,
        ignore_labels=True,
        validation=2000,
    )
    if not kept_share.exists():
        share = (time.process_time() - spent) / (time.monotonic() - began)
        kept_share.write_text(str(share))
    last = read_metrics(run)[-1]
    processor_seconds = last["seconds"] * float(kept_share.read_text())
    training = {
        "images_seen": 32 * last["step"],
        "processor_seconds": processor_seconds,
        "seconds": last["seconds"],
    }
    return load(run), training


def kept(
    name: str, kind: Callable[[], nn.Module], fit: Callable, x: Tensor, seconds: float
) -> tuple[Any, dict]:
    """A trained network of this kind and the cost of its training, from runs/ if it is there."""
    path = Path("runs") / f"{name}.pt"
    torch.manual_seed(0)
    network = kind()
    if not path.exists():
        began = time.monotonic()
        average, images = fit(network, x, seconds)
        training = {
            "images_seen": images,
            "processor_seconds": seconds,
            "seconds": time.monotonic() - began,
        }
        torch.save({"weights": average.module.state_dict(), "training": training}, path)
    found = torch.load(path)
    network.load_state_dict(found["weights"])
    return network.eval(), found["training"]


def batches(x: Tensor, seconds: float) -> Iterator[tuple[float, Tensor]]:
    """Batches in random order until so much processor time is over, and which share of it is."""
    began = time.process_time()
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            progress = (time.process_time() - began) / seconds
            if progress >= 1:
                return
            yield progress, x[rows]


def averaged(network: nn.Module) -> AveragedModel:
    """The average of the weights over about the last ninth of the steps, as for the PixelCNN."""

    def average(old: Tensor, new: Tensor, count: Tensor) -> Tensor:
        return old + (new - old) * (1 - min(0.999, (1 + int(count)) / (10 + int(count))))

    return AveragedModel(network, avg_fn=average, use_buffers=True)


def fit_vae(vae: VAE, x: Tensor, seconds: float, rate: float = 2e-3) -> tuple[AveragedModel, int]:
    optimizer, average, images = (
        torch.optim.AdamW(vae.parameters(), lr=rate, weight_decay=0),
        averaged(vae),
        0,
    )
    for progress, batch in batches(x, seconds):
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * progress)) / 2
        q = vae.posterior(batch)
        kl = kl_divergence(q, Normal(0.0, 1.0)).sum(dim=1)
        loss = (kl - vae.log_likelihood(batch, q.rsample())).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 200.0)
        optimizer.step()
        average.update_parameters(vae)
        images += len(batch)
    return average, images


def fit_gan(
    generator: Generator, x: Tensor, seconds: float, rate: float = 5e-4
) -> tuple[AveragedModel, int]:
    critic, average, images = discriminator(), averaged(generator), 0
    optimizers = [
        torch.optim.Adam(n.parameters(), lr=rate, betas=(0.5, 0.999)) for n in (critic, generator)
    ]
    for progress, batch in batches(x, seconds):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * progress)) / 2
        drawn = scaled(generator(torch.randn(len(batch), CODE)), LEVELS)
        on_real, on_drawn = critic(scaled(batch, LEVELS)), critic(drawn.detach())
        step(optimizers[0], (softplus(-on_real) + softplus(on_drawn)).mean())
        step(optimizers[1], softplus(-critic(drawn)).mean())
        average.update_parameters(generator)
        images += len(batch)
    return average, images


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def bounds(vae: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """The ELBO and the importance-weighted bound on log p(x), (N,) nats each, from the same z.

    With z ~ q(z | x) and w = p(x, z) / q(z | x): the mean of log w, and the log of the mean of w.
    """
    torch.manual_seed(0)
    elbo, importance_weighted = [], []
    for image in x.split(1):
        q = vae.posterior(image)
        z = q.sample((IMPORTANCE_SAMPLES,))
        likelihood = vae.log_likelihood(image.expand(IMPORTANCE_SAMPLES, -1, -1, -1), z[:, 0])
        log_w = (
            likelihood + (Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(dim=(1, 2))
        ).double()
        elbo.append(log_w.mean())
        importance_weighted.append(log_w.logsumexp(dim=0) - math.log(IMPORTANCE_SAMPLES))
    return torch.stack(elbo), torch.stack(importance_weighted)


def bits_per_dim(nats: Tensor) -> dict[str, float]:
    """Of log-likelihoods of images of 784 pixels, in nats."""
    bits = -nats / (784 * math.log(2))
    return {
        "bits_per_dim": float(bits.mean()),
        "standard_error": float(bits.std() / math.sqrt(len(bits))),
    }


def seconds_per_sample(draw: Draw, n: int, repeats: int = 7) -> float:
    """Processor time: the median of so many draws of a batch, after one that does not count."""
    seconds = []
    for _ in range(1 + repeats):
        began = time.process_time()
        draw(n, torch.Generator().manual_seed(0))
        seconds.append((time.process_time() - began) / n)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
