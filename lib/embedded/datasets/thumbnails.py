"""Decodes images within limits, and caches the facts and thumbnails of a dataset's images on disk."""

import hashlib
import json
import os
import struct
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from lib.embedded.datasets.file_names import MAX_PIXELS
from lib.embedded.files.json_file import write_json
from lib.errors import DatasetError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
THUMBNAIL_PX = 256
PREVIEW_PX = 1024
CACHE_VERSION = 1
THUMBNAILS, PREVIEWS = "thumbnails", "previews"

# Pillow only warns about images beyond its own limit, and a server's warnings go unread.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """What decoding an image revealed: ``digest`` of the bytes, and the size or the error."""

    file_bytes: int
    modified_ns: int
    digest: str
    width: int | None = None
    height: int | None = None
    error: str = ""

    @property
    def area(self) -> int:
        """Pixels; 0 when it cannot be decoded."""
        return (self.width or 0) * (self.height or 0)


def check_picture(path: Path, spend_pixels: Callable[[int], None] = lambda _: None) -> str:
    """Decode the whole file and discard the pixels: what is wrong with it, empty when nothing is.

    Args:
        spend_pixels: Is told how many pixels there are before they are decoded, and raises to prevent it.
    """
    try:
        with opened_picture(path) as picture:
            spend_pixels(picture.width * picture.height)
            picture.draft("RGB", (64, 64))  # a JPEG is still read to its end, with far less memory
            picture.load()
            ImageOps.exif_transpose(picture)  # as the thumbnail will be: a damaged EXIF block shows only here
    except DatasetError as error:
        return str(error)
    return ""


@contextmanager
def opened_picture(path: Path) -> Iterator[Image.Image]:
    """Open a picture of a known format within the pixel limit. Raises DatasetError, also for errors inside."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DatasetError(_too_large(picture.width, picture.height))
            yield picture
    except UnidentifiedImageError as error:
        raise DatasetError("It is not a PNG, JPEG, WebP or BMP image.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(_too_large(None, None)) from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error) as error:
        # Pillow's decoders raise all of these for damaged files; an error number is the system's.
        if isinstance(error, OSError) and error.errno is not None:
            raise DatasetError(f"The image cannot be read ({error.strerror}).") from error
        raise DatasetError(f"The image is damaged: {str(error)[:200] or type(error).__name__}.") from error


def _too_large(width: int | None, height: int | None) -> str:
    size = f"{width} x {height} pixels" if width else "too many pixels"
    return f"The image has {size}; at most {MAX_PIXELS // 1_000_000} million are decoded."


def make_thumbnail(path: Path, target: Path, *, side_px: int = THUMBNAIL_PX) -> tuple[int, int]:
    """Write a WebP of at most ``side_px`` a side and return the picture's own (width, height).

    Raises:
        DatasetError: The picture cannot be decoded.
        OSError: The thumbnail cannot be stored.
    """
    with opened_picture(path) as picture:
        size = picture.size
        picture.draft("RGB", (side_px, side_px))
        picture.load()
        small: Image.Image = picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGBA")
        small.thumbnail((side_px, side_px))
        small = ImageOps.exif_transpose(small)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}-{time.monotonic_ns()}")
    small.save(unfinished, format="WEBP", quality=75, method=1)
    unfinished.replace(target)
    return size


class PictureCache:
    """Facts and thumbnails of one dataset's images, in a folder that may be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts_file = folder / "pictures.json"

    def thumbnail_path(self, path: Path, stat: os.stat_result, kind: str = THUMBNAILS) -> Path:
        """Where the thumbnail (or preview) of exactly this version of the file is cached."""
        key = f"{path.name}\0{stat.st_size}\0{stat.st_mtime_ns}"
        return self.folder / kind / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.webp"

    def load(self) -> dict[str, Picture]:
        """Name -> facts. An unreadable cache counts as empty."""
        try:
            content: Mapping[str, Any] = json.loads(self.facts_file.read_bytes())
            if content["version"] != CACHE_VERSION:
                return {}
            return {name: Picture(*row) for name, row in content["pictures"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def save(self, pictures: Mapping[str, Picture]) -> None:
        """Replace the facts file in one step."""
        rows = {
            name: (each.file_bytes, each.modified_ns, each.digest, each.width, each.height, each.error)
            for name, each in pictures.items()
        }
        write_json(self.facts_file, {"version": CACHE_VERSION, "pictures": rows})

    def scan(self, paths: Sequence[Path], *, budget_s: float) -> float:
        """Decode new images for about ``budget_s``, at least one; the finished part in [0, 1]."""
        deadline = time.monotonic() + budget_s
        known = self.load()
        found = _found(paths)
        current = {name: known[name] for name, stat in found.items() if is_current(known.get(name), stat)}
        missing = [path for path in paths if path.name in found and path.name not in current]
        for path in missing:
            current[path.name] = self._decode(path, found[path.name])
            if time.monotonic() >= deadline:
                break
        if missing or current.keys() != known.keys():
            self.save(current)
        if len(current) == len(found):
            self._forget_others(
                {self.thumbnail_path(path, found[path.name]).name for path in paths if path.name in found}
            )
        return len(current) / len(found) if found else 1.0

    def _decode(self, path: Path, stat: os.stat_result) -> Picture:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
            width, height = make_thumbnail(path, self.thumbnail_path(path, stat))
        except FileNotFoundError:  # deleted since the folder was listed; the next scan forgets it
            return Picture(stat.st_size, stat.st_mtime_ns, "", error="The image was deleted.")
        except DatasetError as error:
            return Picture(stat.st_size, stat.st_mtime_ns, digest, error=str(error))
        return Picture(stat.st_size, stat.st_mtime_ns, digest, width, height)

    def _forget_others(self, names: set[str]) -> None:
        for folder in (self.folder / THUMBNAILS, self.folder / PREVIEWS):
            for entry in os.scandir(folder) if folder.is_dir() else ():
                if entry.name not in names and not entry.name.startswith("."):
                    Path(entry.path).unlink(missing_ok=True)


def _found(paths: Sequence[Path]) -> dict[str, os.stat_result]:
    """Size and times of each file that still exists."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError):
            found[path.name] = path.stat()
    return found


def is_current(picture: Picture | None, stat: os.stat_result) -> bool:
    """Whether the facts describe exactly this version of the file."""
    return picture is not None and (picture.file_bytes, picture.modified_ns) == (stat.st_size, stat.st_mtime_ns)


def duplicate_groups(pictures: Mapping[str, Picture]) -> tuple[tuple[str, ...], ...]:
    """Groups of names with the same bytes."""
    by_digest: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(pictures):
        by_digest[pictures[name].digest].append(name)
    return tuple(tuple(names) for names in by_digest.values() if len(names) > 1)
