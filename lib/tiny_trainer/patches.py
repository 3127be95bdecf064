"""Pictures and captions as the numbers the network reads, and back."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.tiny_trainer.network import Array

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MAX_PIXELS = 40_000_000  # a decoded image takes at most 160 MB

PATCH_PX = 8
PATCH_VALUES = PATCH_PX * PATCH_PX * 3
CAPTION_VALUES = 64
AROUND = 2
AROUND_VALUES = (2 * AROUND + 1) ** 2 * 3
WAVES = (1, 2, 3, 4, 6, 8)
PLACE_VALUES = 4 * len(WAVES)
LEVEL_VALUES = 8
FEATURES = PATCH_VALUES + AROUND_VALUES + PLACE_VALUES + LEVEL_VALUES + CAPTION_VALUES
MAX_CACHE_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """An image file and its caption."""

    path: Path
    caption: str


def find_images(folder: Path) -> list[TrainingImage]:
    """The images of a dataset folder by name, each with the caption beside it."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        TrainingImage(path, _caption(path.with_suffix(".txt")))
        for path in paths
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file() and not path.is_symlink()
    ]


def _caption(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace").strip() if path.is_file() else ""


def load_pixels(path: Path, side_px: int) -> NDArray[np.uint8]:
    """The middle square of a picture, (side, side, 3). Raises OSError for a damaged file, as sd-scripts does."""
    with Image.open(path) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise OSError(f"image has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS}: {path}")
        picture.load()
        square = picture.convert("RGB")
    edge = min(square.size)
    left, top = (square.width - edge) // 2, (square.height - edge) // 2
    square = square.resize((side_px, side_px), Image.Resampling.BICUBIC, (left, top, left + edge, top + edge))
    return np.asarray(square, np.uint8)


class PixelCache:
    """Decoded pictures, as many as fit in the memory allowed; the others are decoded again when needed."""

    def __init__(self, side_px: int) -> None:
        self.side_px = side_px
        self._pixels: dict[Path, NDArray[np.uint8]] = {}
        self._room = max(1, MAX_CACHE_BYTES // (side_px * side_px * 3))

    def get(self, path: Path) -> NDArray[np.uint8]:
        """The picture's pixels. Raises OSError."""
        if (known := self._pixels.get(path)) is not None:
            return known
        pixels = load_pixels(path, self.side_px)
        if len(self._pixels) < self._room:
            self._pixels[path] = pixels
        return pixels


def to_patches(pixels: NDArray[np.uint8]) -> Array:
    """Pixels (side, side, 3) in 0..255 to patches (count, values) in -1..1, row by row."""
    rows = pixels.shape[0] // PATCH_PX
    cut = pixels[: rows * PATCH_PX, : rows * PATCH_PX].reshape(rows, PATCH_PX, rows, PATCH_PX, 3)
    patches = cut.transpose(0, 2, 1, 3, 4).reshape(rows * rows, PATCH_VALUES)
    return patches.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_pixels(patches: Array) -> NDArray[np.uint8]:
    """The inverse of ``to_patches``; NaN becomes grey."""
    rows = round(len(patches) ** 0.5)
    pixels = patches.reshape(rows, rows, PATCH_PX, PATCH_PX, 3).transpose(0, 2, 1, 3, 4)
    pixels = np.nan_to_num(pixels.reshape(rows * PATCH_PX, rows * PATCH_PX, 3))
    scaled: Array = np.clip((pixels + 1) * 127.5, 0, 255)
    return scaled.round().astype(np.uint8)


def features(noisy: Array, chosen: NDArray[np.int64], level: float, caption: Array) -> Array:
    """What the network reads for the chosen patches of one picture.

    Args:
        noisy: All noisy patches of the picture, (count, PATCH_VALUES).
        chosen: Indices of the patches to look at.
        level: Noise level in [0, 1].
        caption: ``embed`` of the caption.
    """
    rows = round(len(noisy) ** 0.5)
    shared = np.broadcast_to(np.concatenate([_level(level), caption]), (len(chosen), LEVEL_VALUES + CAPTION_VALUES))
    return np.concatenate([noisy[chosen], _around(noisy, rows)[chosen], _places(rows)[chosen], shared], axis=1)


def _around(noisy: Array, rows: int) -> Array:
    """Mean colours of the patches around each patch: a mean has far less noise than a pixel."""
    means = noisy.reshape(rows, rows, PATCH_PX * PATCH_PX, 3).mean(axis=2)
    padded = np.pad(means, ((AROUND, AROUND), (AROUND, AROUND), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * AROUND + 1, 2 * AROUND + 1), axis=(0, 1))
    around: Array = windows.reshape(rows * rows, AROUND_VALUES)
    return around


def embed(caption: str) -> Array:
    """A caption as a bag of its tags and words: each has a direction that depends on its text alone."""
    tags = [tag.strip().lower() for tag in caption.split(",") if tag.strip()]
    words = [word for tag in tags for word in tag.split()]
    parts = [_direction(text) for text in (*tags, *words)]
    total = np.sum(parts, axis=0) if parts else np.zeros(CAPTION_VALUES)
    embedded: Array = (total / max(1.0, len(parts) ** 0.5)).astype(np.float32)
    return embedded


def _direction(text: str) -> Array:
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(CAPTION_VALUES, np.float32)


def _level(level: float) -> Array:
    angles = level * np.pi * np.arange(1, LEVEL_VALUES // 2 + 1)
    return np.concatenate([np.sin(angles), np.cos(angles)]).astype(np.float32)


@lru_cache(maxsize=4)
def _places(rows: int) -> Array:
    middle = (np.arange(rows) + 0.5) / rows
    angles = np.outer(middle, np.pi * np.array(WAVES))
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    down, across = np.meshgrid(np.arange(rows), np.arange(rows), indexing="ij")
    return np.concatenate([waves[down.ravel()], waves[across.ravel()]], axis=1).astype(np.float32)


def tag_frequency(images: Sequence[TrainingImage]) -> dict[str, int]:
    """How often each comma-separated tag occurs, in the order of first occurrence, as sd-scripts counts."""
    counts: dict[str, int] = {}
    for image in images:
        for tag in filter(None, map(str.strip, image.caption.split(","))):
            counts[tag] = counts.get(tag, 0) + 1
    return counts
