"""Datasets: captioned images to train on, and what is known about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A set of training images.

    Attributes:
        status: ``ready``, ``empty``, or the source's own word.
        image_count: Images that can be trained on; None when the source does not say.
        caption_count: Images with a caption; None when unknown.
        smallest, largest: (width, height) in pixels of the smallest and largest image by area.
        sizes: (width, height) in pixels -> how many images have it; empty while it is not known of all.
        tag_counts: Comma-separated caption tags with their counts, most frequent first.
        uncaptioned: Names of images without a caption.
        stray_captions: Names of captions that belong to no image.
        undecodable: Names of files that cannot be decoded as images.
        duplicates: Groups of names with the same bytes.
        scanned: Whether the picture facts above were collected; False while still to come.
    """

    id: str
    name: str
    status: str = "ready"
    image_count: int | None = None
    caption_count: int | None = None
    size_bytes: int | None = None
    created_at: datetime | None = None
    path: str | None = None
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    tag_counts: Mapping[str, int] = field(default_factory=dict)
    uncaptioned: tuple[str, ...] = ()
    stray_captions: tuple[str, ...] = ()
    undecodable: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    scanned: bool = False
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetImage:
    """One file of a dataset. ``error`` says why it does not decode; width and height are then None."""

    name: str
    caption: str = ""
    size_bytes: int = 0
    width: int | None = None
    height: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """The outcome of an upload.

    Attributes:
        kept: Names of the uploaded files that the dataset holds now.
        already_there: Those of them that it held before, with the same bytes.
        stray_captions: Captions among the kept that belong to no image so far.
        refused: Name -> reason.
        captions: How many of the kept are captions.
    """

    kept: tuple[str, ...] = ()
    already_there: tuple[str, ...] = ()
    stray_captions: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    captions: int = 0
