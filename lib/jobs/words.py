"""Counts, sizes and labels in words, the same in every layer."""

import humanize

UNKNOWN = "–"


def count_text(count: int | None, one: str, many: str) -> str:
    """``1 image``, ``1,600 images``, ``unknown number of images``."""
    if count is None:
        return f"unknown number of {many}"
    return f"{count:,} {one if count == 1 else many}"


def within_sentence(text: str) -> str:
    """A label or a sentence as it stands behind other words: ``base model``, but ``VAE``, ``U-Net`` and ``GPUs``."""
    first = text.partition(" ")[0]
    return text if any(letter.isupper() for letter in first[1:]) else f"{text[:1].lower()}{text[1:]}"


def size_text(size_bytes: float | None) -> str:
    """``500 MB`` for 524,288,000 bytes; unknown is ``–``.

    Powers of 1024 under the short names, as file managers and the upload form count. Every size that people read is
    written here; only a GPU's memory stays as its tools print it.
    """
    if size_bytes is None or size_bytes < 0:
        return UNKNOWN
    number, unit = humanize.naturalsize(size_bytes, binary=True, format="%.1f").split(" ")
    return f"{number.removesuffix('.0')} {unit.replace('iB', 'B').replace('Bytes', 'bytes').replace('Byte', 'byte')}"
