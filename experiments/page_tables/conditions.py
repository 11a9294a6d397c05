"""What conditions are worth, and other kinds of models."""

from typing import Any

from page_tables.rows import results, table


def autoencoder() -> str:
    rows = []
    for size, r in results("autoencoder").items():
        worth = r["code_is_worth"]
        rows.append(
            [
                size,
                f"{r['pixel_cnn']['test']['bits_per_dim']:.3f}",
                f"{worth['given']:.0f}",
                f"{worth['shuffled']:.0f}",
                "–" if worth["nothing"] is None else f"{worth['nothing']:.0f}",
                f"{worth['bits']:.0f} ± {worth['standard_error']:.0f}",
                f"{r['convolutional']['test']['mean_squared_error']:.0f}",
            ]
        )
    head = [
        "m",
        "test bits/dim given the code",
        "bits/image",
        "given another's code",
        "given none",
        "the code is worth",
    ]
    return table([*head, "squared error of the convolutional one"], rows)


def worth_of(what: str, worth: dict[str, Any]) -> list[list[str]]:
    """Rows of what one of ten classes is worth."""
    return [
        [
            f"a wrong {what} costs, bits/image",
            f"{worth['bits']:.1f} ± {worth['standard_error']:.1f}",
        ],
        [f"knowing the {what} saves, bits/image", f"{worth['nothing'] - worth['given']:.2f}"],
        [f"argmax p(x given {what}) is right (chance 10%)", f"{worth['accuracy']:.1%}"],
    ]


def class_conditional() -> str:
    r = results("class_conditional")
    worth = r["class_is_worth"]
    rows = [
        ["test bits/dim given the class", f"{r['test']['bits_per_dim']:.4f}"],
        *worth_of("class", worth),
        ["information about the class, bits (of 3.32)", f"{worth['class_bits']:.2f}"],
        ["classifier on real test images", f"{r['classifier_on_real_test_images']:.1%}"],
    ]
    rows += [
        [f"classifier on samples, guidance {key.rsplit('_', 1)[1]}", f"{value:.1%}"]
        for key, value in r.items()
        if key.startswith("classifier_on_samples")
    ]
    return table(["", "Fashion-MNIST, 16 levels"], rows)


def portraits() -> str:
    """Faces of people whom nothing saw, see `experiments/portraits.py`."""
    r = results("portraits")
    unseen, known = r["people_never_seen"], r["known_people_other_pictures"]
    rows = [
        [
            "embedding, known people: AUROC, accuracy",
            f"{known['auroc']:.3f}, {known['accuracy']:.1%}",
        ],
        [
            "embedding, 30 people never seen: AUROC, accuracy",
            f"{unseen['auroc']:.3f}, {unseen['accuracy']:.1%}",
        ],
    ]
    for noise, found in r["by_noise"].items():
        saved = "; ".join(
            f"{found[split]['bits']:.1f} ± {found[split]['standard_error']:.1f}"
            for split in ("validation", "test")
        )
        rows.append([f"noise {noise}: bits an image saved by its embedding, valid; test", saved])
    for guidance in ("1", "2"):
        p = r[f"portraits_guidance_{guidance}"]
        nearer, nearest = p["nearer_to_own_than_to_another"], p["own_person_is_nearest"]
        chance = f"one of {p['people']}: chance is {p['chance_of_that']:.1%}"
        rows += [
            [
                f"guidance {guidance}: portraits are nearer to their new person than to another",
                f"{nearer:.1%}",
            ],
            [f"guidance {guidance}: the nearest is their own person ({chance})", f"{nearest:.1%}"],
        ]
    return table(["", "faces, 32×32"], rows)


def emoji() -> str:
    r = results("emoji")
    worth = r["category_is_worth"]
    rows = [
        ["test bits/dim given the category", f"{r['test']['bits_per_dim']:.3f}"],
        [
            "uniform; a histogram for each pixel",
            f"{r['test']['uniform_bits_per_dim']:.3f}; {r['test']['histogram_bits_per_dim']:.3f}",
        ],
        *worth_of("category", worth),
    ]
    return (
        f"{table(['', 'emoji, 32×32×3, 16 levels'], rows)}\n\n![A row for each"
        " category](results/emoji.png)"
    )


def other_kinds() -> str:
    """Two tables, of likelihoods and of samples, and the picture."""
    r = results("other_kinds")
    names = {"pixelcnn": "Gated PixelCNN", "vae": "VAE", "gan": "GAN"}
    kinds = ("exact", "elbo", "importance_weighted")
    rows = []
    for name, m in r["models"].items():
        bits = [
            f"{m[k]['bits_per_dim']:.3f} ± {m[k]['standard_error']:.3f}" if k in m else "–"
            for k in kinds
        ]
        rows.append([names[name], f"{m['parameters']:,}", f"{m['images_seen']:,}", *bits])
    head = ["model", "parameters", "images seen in training", "exact bits/dim", "ELBO, at most"]
    likelihoods = table(
        [*head, f"importance-weighted bound of {r['importance_samples']}, at most"], rows
    )

    names |= {
        "real": "real images, held out",
        "vae": "VAE, drawn",
        "vae_likeliest": "VAE, likeliest levels",
    }
    rows = []
    for name, q in r["sample_quality"].items():
        seconds = r["processor_seconds_per_sample_by_batch"].get(name)
        times = [
            f"{1000 * seconds[n]:,.{0 if seconds[n] > 0.01 else 2}f}" if seconds else "–"
            for n in ("1", "64")
        ]
        rows.append(
            [
                names[name],
                f"{q['frechet']:.1f}",
                f"{q['precision']:.3f}",
                f"{q['recall']:.3f}",
                *times,
            ]
        )
    head = [f"{r['samples']:,} of each", "Fréchet distance", "precision", "recall"]
    samples = table([*head, "ms a sample, one by one", "ms a sample, 64 at once"], rows)
    picture = (
        "Two rows each: real images, Gated PixelCNN, VAE (drawn),"
        " GAN.\n\n![Samples](results/other_kinds.png)"
    )
    spent = r["models"]["pixelcnn"]["processor_seconds"]
    trained = f"After {spent:.0f} processor seconds of training each:"
    return f"{trained}\n\n{likelihoods}\n\n{samples}\n\n{picture}"
