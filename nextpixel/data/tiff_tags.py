"""The numbers of the tags of TIFF files, and what all of their readers share."""

import io

__all__ = ["TiffFile"]

TiffFile = io.BytesIO | io.BufferedReader

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SUBFILE, STRIPS, ORIENTATION, SAMPLES, STRIP_ROWS = 254, 273, 274, 277, 278
STRIP_BYTES, PLANAR, EXTRA, FORMAT = 279, 284, 338, 339
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES = 322, 323, 324, 325
DESCRIPTION, NODATA, DEPTH = 270, 42113, 32997
# Blank tiles may be shared; beyond these bytes nothing is read over and over.
SHARED_BYTES = 2**26
