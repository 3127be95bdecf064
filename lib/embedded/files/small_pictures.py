"""Samples as small pictures, for lists: the samples themselves can have megabytes each."""

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from lib.embedded.datasets.thumbnails import opened_picture

SIDE_PX = 96


def small_picture(path: Path) -> bytes:
    """The picture as a WebP of at most ``SIDE_PX`` a side. Raises DatasetError or OSError when it cannot be read."""
    stat = path.stat()
    return _made(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1_000)
def _made(path: Path, _size_bytes: int, _modified_ns: int) -> bytes:
    out = io.BytesIO()
    with opened_picture(path) as picture:
        picture.draft("RGB", (SIDE_PX, SIDE_PX))
        picture.load()
        small: Image.Image = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGBA")
        small.thumbnail((SIDE_PX, SIDE_PX))
        small.save(out, format="WEBP", quality=75, method=1)
    return out.getvalue()
