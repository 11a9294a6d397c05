"""Data sets of the Hugging Face Hub, of which only what lies in their own repository is read.

The README.md of a repository may name any files as its data, and the package `datasets` follows it:
absolute paths on this machine and addresses elsewhere too. So the README.md is looked at first, and
`datasets` is given the same commit.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nextpixel.data.errors import DataError
from nextpixel.data.storage import optional_package

__all__ = ["load_from_hub"]

_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PLACES = ("data_files", "data_dir")


def load_from_hub(name: str) -> Any:
    """Download a data set, ``NAME`` or ``NAME:CONFIGURATION``, or take what was downloaded before.

    Raises:
        DataError: the name is not one of a repository, or the repository names files elsewhere.
    """
    datasets = optional_package("datasets", extra="data")
    repository, _, configuration = name.partition(":")
    if not _NAME.fullmatch(repository):
        raise DataError(f"{repository!r:.80} is not the name of a data set; use hf:OWNER/NAME")
    if Path(repository).exists():
        # `datasets` would take it, and follow its README.md.
        raise DataError(f"{repository} is also a file or folder here; work in another folder")
    from huggingface_hub import constants

    commit = None if constants.HF_HUB_OFFLINE else _checked_commit(repository)
    return datasets.load_dataset(repository, configuration or None, revision=commit)


def _checked_commit(repository: str) -> str:
    """The commit that the Hub has now, whose settings name files of its own alone."""
    from huggingface_hub import DatasetCard, HfApi
    from huggingface_hub.errors import EntryNotFoundError

    hub = HfApi()
    commit = str(hub.dataset_info(repository).sha)
    for file in ("README.md", ".huggingface.yaml"):
        try:
            path = hub.hf_hub_download(repository, file, repo_type="dataset", revision=commit)
        except EntryNotFoundError:
            continue
        if file == "README.md":
            settings = DatasetCard.load(path, ignore_metadata_errors=True).data.to_dict()
        else:
            text = Path(path).read_text(encoding="utf-8")
            settings = optional_package("yaml", extra="data").safe_load(text)
        for place in _places(settings, within=False):
            if not _is_own(place):
                raise DataError(
                    f"the data set {repository} says that its data are at {place!r:.80}, which is"
                    " not in its repository; do not use it"
                )
    return commit


def _places(value: Any, *, within: bool) -> Iterator[object]:
    """Every place that settings name, at any depth below the fields for places."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _places(part, within=(within and key != "split") or key in _PLACES)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _places(part, within=within)
    elif within and value is not None:
        yield value


def _is_own(place: object) -> bool:
    """Whether a pattern stays in the repository that it stands in."""
    if not isinstance(place, str) or place.startswith(("/", "~")):
        return False
    return not {"\\", ":"} & set(place) and ".." not in place.split("/")
