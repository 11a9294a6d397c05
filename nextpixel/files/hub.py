"""Checkpoints of the Hugging Face Hub: the one file of a repository that is ever fetched.

The file is a checkpoint like any other: tensors and JSON, of which nothing is executed.
"""

import re
from pathlib import Path
from typing import Any

from nextpixel.files.fields import CheckpointError

__all__ = ["HUB", "WEIGHTS", "downloaded"]

HUB = "hf:"
"""What the name of a model on the Hub begins with."""
WEIGHTS = "model.safetensors"
"""The file of a repository that holds the model."""

_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_MOST_BYTES = 1 << 32


def downloaded(name: str, **where: Any) -> Path:
    """Downloads the checkpoint ``hf:OWNER/NAME``, or takes what was downloaded before.

    Args:
        name: a repository of models, with or without "hf:"; ``@REVISION`` names a branch, a tag
            or a commit.
        where: passed on to ``huggingface_hub.hf_hub_download``: `cache_dir`, `token`,
            `local_files_only` and so on.

    Raises:
        CheckpointError: the name is not one of a repository; there is no such repository, or none
            with a file of that name; the file is larger than 4 GiB; or the Hub cannot be reached.
    """
    found = _NAME.fullmatch(name.removeprefix(HUB))
    if found is None or ".." in name:
        raise CheckpointError(
            f"{name!r:.80} is neither a folder here nor the name of a model on the Hub; use"
            f" {HUB}OWNER/NAME"
        )
    # Imported here, because it takes a tenth of a second.
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    repository = found["repository"]
    revision = found["revision"] or where.pop("revision", None)
    offline = constants.HF_HUB_OFFLINE or where.get("local_files_only")
    try:
        if not offline:
            url = hf_hub_url(repository, WEIGHTS, revision=revision)
            size = get_hf_file_metadata(url, token=where.get("token")).size
            if size is None or size > _MOST_BYTES:
                raise CheckpointError(
                    f"{WEIGHTS} of {repository} has {size} bytes, more than {_MOST_BYTES:,}; if you"
                    " trust it, download it and give the file"
                )
        path = hf_hub_download(repository, WEIGHTS, revision=revision, **where)
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        said = str(error).strip().partition("\n")[0][:120]
        raise CheckpointError(
            f"the Hub gives no {WEIGHTS} of {repository} ({type(error).__name__}: {said});"
            " see whether it exists, and whether you may read it"
        ) from error
    # What the cache shows is a link to the file itself.
    return Path(path).resolve()
