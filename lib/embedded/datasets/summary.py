"""The facts of a dataset, collected after each change of its folder and cached in a small file."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.embedded.datasets.file_names import ENDINGS, MAX_CAPTION_BYTES, is_readable
from lib.embedded.datasets.thumbnails import Picture, PictureCache, duplicate_groups, is_current
from lib.embedded.files import json_file
from lib.jobs.dataset import Dataset

SUMMARY_VERSION = 4
MAX_TAGS = 300
# File systems round times: a change right after a reading can have the same time as the one before.
SETTLED_NS = 100_000_000


def list_image_names(folder: Path) -> list[str]:
    """Names of the images of a dataset folder, sorted; links and hidden files do not count."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if os.path.splitext(entry.name)[1].lower() in ENDINGS  # noqa: PTH122 (thousands of names)
            and not entry.name.startswith(".")
            and is_readable(entry.name)
            and entry.is_file(follow_symlinks=False)
        )


def list_stray_captions(folder: Path, image_names: Sequence[str]) -> list[str]:
    """Names of the captions that belong to none of these images, sorted."""
    owned = {f"{Path(name).stem}.txt" for name in image_names}
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(".txt")
            and not entry.name.startswith(".")
            and entry.name not in owned
            and is_readable(entry.name)
            and entry.is_file(follow_symlinks=False)
        )


def summarize(folder: Path, cache: PictureCache, *, look_at_files: bool = True) -> Dataset:
    """The dataset's facts (its id and name are the folder's); decodes nothing.

    Args:
        look_at_files: False trusts the times of the folder and of the last scan, and misses a file that another
            program overwrote in place.
    """
    summary_file = cache.folder / "summary.json"
    kept = read_json(summary_file)
    known = kept.get("state") if kept.get("version") == SUMMARY_VERSION else None
    state = _folder_times(folder, cache)
    if known and known[: len(state)] == state and not look_at_files:
        return _from_kept(folder, kept)
    # Overwriting a file in place does not touch the folder; the sum also reveals an older file put there.
    times = _file_times(folder)
    state += [max(times, default=0), sum(times)]
    if known == state:
        return _from_kept(folder, kept)
    facts = _collect(folder, cache.load())
    settled = all(abs(time.time_ns() - each) > SETTLED_NS for each in state)  # a time in the future is not recent
    content = {"version": SUMMARY_VERSION, "state": state if settled else None, **facts}
    with suppress(OSError):  # a read-only or full disk only makes the next call slower
        json_file.write_json(summary_file, content)
    return _from_kept(folder, content)


def _folder_times(folder: Path, cache: PictureCache) -> list[int]:
    try:
        scanned_ns = cache.facts_file.stat().st_mtime_ns
    except FileNotFoundError:
        scanned_ns = 0
    return [folder.stat().st_mtime_ns, scanned_ns]


def _file_times(folder: Path) -> list[int]:
    """Times of the images and their captions; what is in a caption without an image is nowhere shown."""
    with os.scandir(folder) as entries:
        found = [(*os.path.splitext(entry.name), entry) for entry in entries]  # noqa: PTH122 (thousands of names)
    owners = {stem for stem, suffix, _ in found if suffix.lower() in ENDINGS}
    times = []
    for stem, _, entry in found:
        if stem in owners:
            with suppress(FileNotFoundError):  # deleted since the folder was listed
                times.append(entry.stat(follow_symlinks=False).st_mtime_ns)
    return times


def _collect(folder: Path, pictures: Mapping[str, Picture]) -> dict[str, Any]:
    names = list_image_names(folder)
    captions = {name: caption for name in names if (caption := read_caption((folder / name).with_suffix(".txt")))}
    stats = {name: stat for name in names if (stat := _stat(folder / name)) is not None}
    # Facts of a former file of the same name must not disqualify a good image.
    known = {name: pictures[name] for name, stat in stats.items() if is_current(pictures.get(name), stat)}
    sizes = sorted((each.area, each.width, each.height) for each in known.values() if each.area)
    return {
        "images": len(names),
        "captions": len(captions),
        "bytes": sum(stat.st_size for stat in stats.values()),
        "tags": count_tags(captions.values()),
        "smallest": sizes[0][1:] if sizes else None,
        "largest": sizes[-1][1:] if sizes else None,
        "sizes": [[*size, count] for size, count in Counter(each[1:] for each in sizes).items()],
        "uncaptioned": [name for name in names if name not in captions],
        "stray_captions": list_stray_captions(folder, names),
        "undecodable": [name for name, each in known.items() if each.error],
        "duplicates": duplicate_groups(known),
        "scanned": len(known) == len(names),
    }


def count_tags(captions: Iterable[str]) -> dict[str, int]:
    """Comma-separated tags with their counts, most frequent first."""
    counts = Counter(tag for caption in captions for part in caption.split(",") if (tag := part.strip()))
    return dict(counts.most_common(MAX_TAGS))


def read_caption(path: Path) -> str:
    """The caption as trainers read it; empty when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_CAPTION_BYTES).decode("utf-8-sig", "replace").strip()
    except (FileNotFoundError, IsADirectoryError):
        return ""


def read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object; empty when the file is missing, damaged or unreadable."""
    try:
        return json_file.read_json(path) or {}
    except OSError:
        return {}


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _from_kept(folder: Path, kept: Mapping[str, Any]) -> Dataset:
    smallest, largest = kept["smallest"], kept["largest"]
    return Dataset(
        id=folder.name,
        name=folder.name,
        status="ready" if kept["images"] else "empty",
        image_count=kept["images"],
        caption_count=kept["captions"],
        size_bytes=kept["bytes"],
        smallest=(smallest[0], smallest[1]) if smallest else None,
        largest=(largest[0], largest[1]) if largest else None,
        sizes={(width, height): count for width, height, count in kept["sizes"]} if kept["scanned"] else {},
        tag_counts=kept["tags"],
        uncaptioned=tuple(kept["uncaptioned"]),
        stray_captions=tuple(kept["stray_captions"]),
        undecodable=tuple(kept["undecodable"]),
        duplicates=tuple(tuple(group) for group in kept["duplicates"]),
        scanned=kept["scanned"],
    )
