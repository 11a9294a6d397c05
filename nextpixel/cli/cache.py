"""nextpixel cache: what is kept of decoded images."""

import json as json_format

from nextpixel.cli.readers import Json

__all__ = ["cache"]


def cache(*, clear: bool = False, json: Json = False) -> None:
    """List or remove the decoded images that are kept for later commands.

    Images beyond 2 GB are kept in the folder nextpixel of $XDG_CACHE_HOME or ~/.cache. They take at
    most $NEXTPIXEL_CACHE_GB gigabytes, by default 32; the least recently used are removed first.

    Parameters
    ----------
    clear
        Remove them. They are made again when they are needed.
    """
    from nextpixel.data.kept import cache_folder, clear_cache, kept_files, most_bytes

    files = clear_cache() if clear else kept_files()
    total = sum(file.bytes for file in files)
    if json:
        listed = [{"path": str(f.path), "bytes": f.bytes, "used": f.used} for f in files]
        said = {"folder": str(cache_folder()), "most_bytes": most_bytes(), "cleared": clear}
        print(json_format.dumps(said | {"bytes": total, "files": listed}))
        return
    verb = "removed" if clear else "kept"
    if not clear:
        for file in files:
            print(f"{file.path}: {file.bytes / 1e9:.3f} GB")
    print(
        f"{verb} {len(files)} file{'s' * (len(files) != 1)}, {total / 1e9:.3f} GB of at most"
        f" {most_bytes() / 1e9:g} GB, in"
        f" {cache_folder()}"
    )
