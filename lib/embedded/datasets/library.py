"""Datasets as folders: images with a .txt caption beside each. Derived files are in ``.cache`` beside them."""

import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from lib.embedded.datasets.file_names import ENDINGS, MAX_CAPTION_BYTES, is_readable, safe_name
from lib.embedded.datasets.importing import DEFAULT_LIMITS, ImportLimits, import_upload, write_caption
from lib.embedded.datasets.summary import (
    list_image_names,
    list_stray_captions,
    read_caption,
    read_json,
    summarize,
)
from lib.embedded.datasets.thumbnails import PREVIEW_PX, PREVIEWS, PictureCache, is_current, make_thumbnail
from lib.embedded.files.availability import HINT, FolderUnavailable, is_there
from lib.embedded.files.json_file import write_json
from lib.errors import DatasetError
from lib.jobs.dataset import Dataset, DatasetImage, ImportReport
from lib.jobs.training_settings import name_problem
from lib.jobs.words import size_text

CACHE_FOLDER = ".cache"
ABOUT_FILE = ".dataset.json"
NAMES_PATIENCE_S = 10.0
IMPORT_PATIENCE_S = 5.0
ABANDONED_AFTER_S = 3600.0


class DatasetFolder:
    """All datasets below ``root``. A folder put there by hand is a dataset too."""

    def __init__(
        self, root: Path, limits: ImportLimits = DEFAULT_LIMITS, *, import_patience_s: float = IMPORT_PATIENCE_S
    ) -> None:
        self.root = root
        self._limits = limits
        self._import_patience_s = import_patience_s

    def create(self, name: str) -> Dataset:
        """An empty dataset. Raises DatasetError for a bad or taken name."""
        name = unicodedata.normalize("NFC", name).strip()
        if problem := name_problem(name):
            raise DatasetError(problem)
        dataset_id = f"{_slug(name)}-{secrets.token_hex(3)}"
        with _told_disk_errors("The dataset could not be created"), self._names_locked():
            if any(other.name.casefold() == name.casefold() for other in self.list()):
                raise DatasetError("There is already a dataset with this name.", hint="Choose another name.")
            (self.root / dataset_id).mkdir()
            about = {"name": name, "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
            write_json(self.root / dataset_id / ABOUT_FILE, about)
        return self.get(dataset_id)

    def _names_locked(self) -> FileLock:
        """Keeps others from creating a dataset meanwhile, so that a free name stays free."""
        for folder in (self.root, self.root / CACHE_FOLDER):  # but not the data folder: a missing one is unavailable
            folder.mkdir(exist_ok=True)
        return FileLock(self.root / CACHE_FOLDER / "datasets.lock", timeout=NAMES_PATIENCE_S)

    def list(self) -> Sequence[Dataset]:
        """All datasets by name. A file overwritten in place is noticed when its dataset is next read by ``get``."""
        self._require_root()
        with _told_disk_errors("The datasets could not be listed"):
            ids = [entry.name for entry in os.scandir(self.root) if _is_dataset(entry)]
        found = [dataset for each in ids if (dataset := self._get_if_there(each)) is not None]
        return tuple(sorted(found, key=lambda dataset: (dataset.name.casefold(), dataset.id)))

    def get(self, dataset_id: str) -> Dataset:
        """One dataset with all facts known so far. Raises DatasetError."""
        return self._read(dataset_id, look_at_files=True)

    def _read(self, dataset_id: str, *, look_at_files: bool) -> Dataset:
        folder = self.path(dataset_id)
        with _told_disk_errors("The dataset could not be read"):
            summary = summarize(folder, self._cache(dataset_id), look_at_files=look_at_files)
            about = read_json(folder / ABOUT_FILE)
            created_at = _parse_time(about.get("created_at")) or datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        name = str(about.get("name") or dataset_id)
        return replace(summary, id=dataset_id, name=name, created_at=created_at, path=str(folder))

    def path(self, dataset_id: str) -> Path:
        """The dataset's folder. Raises DatasetError for an id that is unknown or leads elsewhere."""
        self._require_root()
        folder = self.root / dataset_id if _is_component(dataset_id) else None
        with _told_disk_errors("The dataset could not be read"):
            is_there = folder is not None and not folder.is_symlink() and folder.is_dir()
        if folder is None or not is_there:
            raise DatasetError(
                f"There is no dataset with the id {dataset_id[:80]!r}.",
                hint="It may have been deleted, or the link is incomplete.",
            )
        return folder

    def _require_root(self) -> None:
        """Raise FolderUnavailable when the folder is missing, which is not the same as one without datasets."""
        if not is_there(self.root):
            raise FolderUnavailable(f"The folder of the datasets, {self.root}, is not there.", hint=HINT)

    def import_file(self, dataset_id: str, name: str, stream: BinaryIO) -> ImportReport:
        """Import an image, a caption or a zip of both; refused files are named with the reason."""
        folder = self.path(dataset_id)
        self.clear_leftovers()
        with _told_disk_errors("The upload could not be stored"), self._importing(dataset_id):
            return import_upload(folder, self.root / CACHE_FOLDER, name, stream, self._limits)

    @contextmanager
    def _importing(self, dataset_id: str) -> Iterator[None]:
        """One import per dataset at a time: each may take a processor for minutes."""
        cache = self._cache(dataset_id).folder
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / "import.lock", timeout=self._import_patience_s)
        try:
            lock.acquire()
        except Timeout as error:
            raise DatasetError(
                "Another upload into this dataset is being checked.", hint="Try again when it is done."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def image_names(self, dataset_id: str) -> Sequence[str]:
        """Names of all images, in their order."""
        folder = self.path(dataset_id)
        with _told_disk_errors("The dataset could not be read"):
            return list_image_names(folder)

    def images(
        self, dataset_id: str, *, skip: int = 0, take: int = 50, among: Collection[str] | None = None
    ) -> Sequence[DatasetImage]:
        """Images by name, one page of all or of those ``among``; sizes in pixels are known after a scan."""
        folder = self.path(dataset_id)
        pictures = self._cache(dataset_id).load()
        with _told_disk_errors("The dataset could not be read"):
            wanted = None if among is None else set(among)
            names = [name for name in list_image_names(folder) if wanted is None or name in wanted]
            shown = names[max(0, skip) : max(0, skip) + max(0, take)]
            return tuple(_dataset_image(folder / name, pictures) for name in shown if (folder / name).exists())

    def image_path(self, dataset_id: str, image_name: str) -> Path:
        """Where an image is. Raises DatasetError for a name that is unknown, leads elsewhere or is not an image's."""
        folder = self.path(dataset_id)
        names = (image_name, unicodedata.normalize("NFC", image_name))
        paths = [folder / name for name in names if not safe_name(name).problem and _is_component(name)]
        for path in paths:
            if path.suffix.lower() in ENDINGS and path.is_file() and not path.is_symlink():
                return path
        raise DatasetError(f"The dataset has no image {image_name[:80]!r}.", hint="It may have been deleted.")

    def scan(self, dataset_id: str, budget_s: float) -> float:
        """Collect image facts and thumbnails for about ``budget_s``; the finished part in [0, 1]."""
        folder, cache = self.path(dataset_id), self._cache(dataset_id)
        with _told_disk_errors("The dataset could not be scanned"):
            cache.folder.mkdir(parents=True, exist_ok=True)
            paths = [folder / name for name in list_image_names(folder)]
            try:
                with FileLock(cache.folder / "scan.lock", timeout=budget_s):
                    return cache.scan(paths, budget_s=budget_s)
            except Timeout:  # another process scans: report its progress
                return min(1.0, len(cache.load()) / len(paths)) if paths else 1.0

    def thumbnail(self, dataset_id: str, image_name: str) -> Path:
        """A small cached WebP. Raises DatasetError when the image is missing or cannot be decoded."""
        path = self.image_path(dataset_id, image_name)
        with _told_disk_errors("The image may be good, but its thumbnail could not be stored"):
            target = self._cache(dataset_id).thumbnail_path(path, path.stat())
            if not target.exists():
                make_thumbnail(path, target)
        return target

    def preview(self, dataset_id: str, image_name: str) -> Path:
        """A large cached WebP, made on demand. Raises DatasetError like ``thumbnail``."""
        path = self.image_path(dataset_id, image_name)
        with _told_disk_errors("The image may be good, but its preview could not be stored"):
            target = self._cache(dataset_id).thumbnail_path(path, path.stat(), PREVIEWS)
            if not target.exists():
                make_thumbnail(path, target, side_px=PREVIEW_PX)
        return target

    def set_caption(self, dataset_id: str, image_name: str, caption: str) -> None:
        """Replace the caption of an image; an empty one removes it."""
        path = self.image_path(dataset_id, image_name).with_suffix(".txt")
        text = " ".join(caption.split())
        if len(text.encode("utf-8", "replace")) > MAX_CAPTION_BYTES:
            raise DatasetError(f"The caption is longer than {size_text(MAX_CAPTION_BYTES)}.", hint="Shorten it.")
        with _told_disk_errors("The caption could not be saved"):
            if text:
                write_caption(path, text, self.root / CACHE_FOLDER)
            else:
                path.unlink(missing_ok=True)

    def delete_image(self, dataset_id: str, image_name: str) -> None:
        """Delete an image, and its caption unless another image has the same stem."""
        path = self.image_path(dataset_id, image_name)
        with _told_disk_errors("The image could not be deleted"):
            path.unlink(missing_ok=True)
            if all(Path(name).stem != path.stem for name in list_image_names(path.parent)):
                path.with_suffix(".txt").unlink(missing_ok=True)

    def delete_stray_captions(self, dataset_id: str, names: Collection[str]) -> None:
        """Delete those of the named captions that still belong to no image."""
        folder = self.path(dataset_id)
        with _told_disk_errors("The captions could not be deleted"):
            for name in set(names).intersection(list_stray_captions(folder, list_image_names(folder))):
                (folder / name).unlink(missing_ok=True)

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset with all its files and derived files."""
        folder = self.path(dataset_id)
        with _told_disk_errors("The dataset could not be deleted"):
            # Renamed first, so that a half-deleted dataset is never listed.
            gone = self.root / CACHE_FOLDER / f"deleted-{secrets.token_hex(6)}"
            gone.parent.mkdir(exist_ok=True)
            folder.rename(gone)
            with suppress(FileNotFoundError):  # another process is clearing leftovers
                shutil.rmtree(gone)
            shutil.rmtree(self._cache(dataset_id).folder, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Remove what killed processes left behind of deleted datasets and uploads."""
        cache = self.root / CACHE_FOLDER
        for path in (*cache.glob("deleted-*"), *filter(_is_abandoned, cache.glob("incoming-*"))):
            shutil.rmtree(path, ignore_errors=True)

    def _cache(self, dataset_id: str) -> PictureCache:
        return PictureCache(self.root / CACHE_FOLDER / "datasets" / dataset_id)

    def _get_if_there(self, dataset_id: str) -> Dataset | None:
        try:
            return self._read(dataset_id, look_at_files=False)
        except DatasetError as error:
            if not (self.root / dataset_id).is_dir():
                return None  # deleted since the folder was listed
            # One unreadable folder must not hide the others.
            return Dataset(id=dataset_id, name=dataset_id, status="unreadable", payload={"error": str(error)})


def _is_dataset(entry: "os.DirEntry[str]") -> bool:
    return _is_component(entry.name) and is_readable(entry.name) and entry.is_dir(follow_symlinks=False)


def _is_component(name: str) -> bool:
    """Whether the text names a direct, visible child of a folder."""
    return bool(name) and not name.startswith(".") and not re.search(r"[/\\\x00-\x1f]", name) and len(name) <= 255


def _is_abandoned(incoming: Path) -> bool:
    """Whether an upload was abandoned: one in progress writes a file every few seconds."""
    try:
        written_at = max(path.stat().st_mtime for path in (incoming, *incoming.iterdir()))
    except OSError:  # it is being finished right now
        return False
    return time.time() - written_at > ABANDONED_AFTER_S


def _slug(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:40].strip("-") or "dataset"


def _dataset_image(path: Path, pictures: Mapping[str, Any]) -> DatasetImage:
    stat = path.stat()
    known = pictures.get(path.name)
    picture = known if is_current(known, stat) else None
    return DatasetImage(
        name=path.name,
        caption=read_caption(path.with_suffix(".txt")),
        size_bytes=stat.st_size,
        width=picture.width if picture else None,
        height=picture.height if picture else None,
        error=picture.error if picture else "",
    )


def _parse_time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


@contextmanager
def _told_disk_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{what}: {reason}.", hint="Check the data folder and the free disk space.") from error
