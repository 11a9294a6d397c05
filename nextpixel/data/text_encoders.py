"""Text encoders that a user names, MODULE:FUNCTION.

Only a name that the user gives is imported, never one that a file holds.
"""

import importlib
import os
import sys

from nextpixel.data.annotations import TextEncoder
from nextpixel.errors import UsageError

__all__ = ["import_encoder"]


def import_encoder(name: str) -> TextEncoder:
    """Import the function that MODULE:FUNCTION names; a class is called without arguments.

    The working folder is searched last, even under ``python -m``: a file that lies beside
    somebody's data must not stand in for an installed module of its name.

    Raises:
        UsageError: It cannot be imported.
    """
    module, _, attribute = name.partition(":")
    before, here = list(sys.path), os.path.realpath(os.getcwd())
    sys.path[:] = [entry for entry in before if os.path.realpath(entry) != here] + [here]
    try:
        found = getattr(importlib.import_module(module), attribute)
        return found() if isinstance(found, type) else found  # type: ignore[no-any-return]
    except Exception as error:  # Their code may raise anything.
        what = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"‹text_encoder={name}› cannot be imported ({what}); give MODULE:FUNCTION"
        ) from error
    finally:
        sys.path[:] = before
