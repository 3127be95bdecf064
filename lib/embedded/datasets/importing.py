"""Imports uploads: images, captions, and zip archives of both. Good files are kept, bad ones refused by name.

Each file is written to a temporary folder and moved into the dataset once it is checked, so that a broken or hostile
upload leaves nothing behind.
"""

import filecmp
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

from lib.embedded.datasets.file_names import ENDINGS, MAX_CAPTION_BYTES, is_noise, safe_name
from lib.embedded.datasets.summary import list_image_names
from lib.embedded.datasets.thumbnails import check_picture
from lib.jobs.dataset import ImportReport
from lib.jobs.words import size_text

MAX_RATIO = 100
RATIO_FLOOR_BYTES = 1024**2  # small files compress well without being bombs
CHUNK_BYTES = 1024**2
MAX_REFUSALS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportLimits:
    """What a single upload may hold.

    Attributes:
        total_bytes: Size of a zip unpacked.
        index_bytes: Size of a zip's table of contents.
        pixels, pixels_per_byte: Pixels of all pictures: so many at most, and more than ``free_pixels`` only as far as
            the picture files have bytes for them.
    """

    image_bytes: int = 64 * 1024**2
    zip_bytes: int = 8 * 1024**3
    total_bytes: int = 8 * 1024**3
    entries: int = 20_000
    index_bytes: int = 16 * 1024**2
    pixels: int = 64_000_000_000
    free_pixels: int = 200_000_000
    pixels_per_byte: int = 500


DEFAULT_LIMITS = ImportLimits()


class FileRefused(Exception):
    """Why a file is not imported: one plain sentence."""


@dataclass
class _Import:
    """One upload on its way into ``folder``, through the temporary folder ``incoming``.

    ``offered`` has the stems of a zip's images, ``taken`` those of the imported ones, with their folders in the zip.
    ``image_stems`` are those of the images that the dataset has now.
    """

    folder: Path
    incoming: Path
    image_stems: set[str]
    limits: ImportLimits
    kept: list[str] = field(default_factory=list)
    already_there: list[str] = field(default_factory=list)
    stray_captions: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    captions: int = 0
    offered: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    pixels: int = 0
    packed_bytes: int = 0

    def spend_pixels(self, count: int) -> None:
        """Count pixels before they are decoded. Raises FileRefused when they are too many for the upload."""
        self.pixels += count
        limits = self.limits
        paid_for = limits.free_pixels + limits.pixels_per_byte * self.packed_bytes
        if self.pixels > min(limits.pixels, paid_for):
            self.pixels -= count
            raise FileRefused("The pictures of this upload have too many pixels for its size, as an image bomb does.")

    def attempt(self, shown_name: str, take_in: Callable[[], None]) -> None:
        """Import one file, or note why not."""
        try:
            take_in()
        except FileRefused as refusal:
            if len(self.refused) < MAX_REFUSALS:
                self.refused[shown_name] = str(refusal)

    def report(self) -> ImportReport:
        return ImportReport(
            kept=tuple(self.kept),
            already_there=tuple(self.already_there),
            stray_captions=tuple(self.stray_captions),
            refused=self.refused,
            captions=self.captions,
        )


def import_upload(
    folder: Path, scratch: Path, name: str, stream: BinaryIO, limits: ImportLimits = DEFAULT_LIMITS
) -> ImportReport:
    """Import an uploaded file into a dataset folder.

    Args:
        folder: The dataset's folder.
        scratch: A folder on the same file system, for files that are not checked yet.
        name: The file's name as the browser sent it; may be hostile.
        stream: The content; read in pieces, never whole.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="incoming-", ignore_cleanup_errors=True) as incoming:
        stems = {Path(name).stem for name in list_image_names(folder)}
        upload = _Import(folder=folder, incoming=Path(incoming), image_stems=stems, limits=limits)
        if name.lower().endswith(".zip") and not safe_name(name).problem:
            upload.attempt(name, lambda: _take_zip(upload, stream))
        else:
            upload.attempt(name, lambda: _take_file(upload, name, stream))
        return upload.report()


def write_caption(path: Path, text: str, scratch: Path) -> None:
    """Replace a caption file in one step."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="incoming-") as incoming:
        unfinished = Path(incoming, "caption.txt")
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        unfinished.replace(path)


def _take_file(upload: _Import, path: str, stream: IO[bytes]) -> None:
    """Import one image or caption. Raises FileRefused."""
    safe = safe_name(path)
    if safe.problem:
        raise FileRefused(safe.problem)
    ending = Path(safe.name).suffix.lower()
    if ending == ".zip":
        raise FileRefused("It is a zip inside a zip.")
    if ending not in ENDINGS and ending != ".txt":
        raise FileRefused("It is not an image (PNG, JPEG, WebP, BMP), a caption (.txt) or a zip.")
    # Trainers read captions of this very ending only.
    name = f"{Path(safe.name).stem}.txt" if ending == ".txt" else safe.name
    unfinished = upload.incoming / "file"
    try:
        _copy(stream, unfinished, MAX_CAPTION_BYTES if ending == ".txt" else upload.limits.image_bytes)
        _check_content(upload, unfinished, ending)
        if not _place(unfinished, upload.folder / name):
            upload.already_there.append(name)
    finally:
        unfinished.unlink(missing_ok=True)
    if ending == ".txt":
        upload.captions += 1
        if Path(name).stem not in upload.image_stems:
            upload.stray_captions.append(name)
    else:
        upload.image_stems.add(Path(name).stem)
    upload.kept.append(name)


def _copy(stream: IO[bytes], target: Path, limit_bytes: int) -> None:
    size_bytes = 0
    with target.open("wb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise FileRefused(f"It is larger than {size_text(limit_bytes)}.")
            file.write(chunk)
    if size_bytes == 0:
        raise FileRefused("It is empty.")


def _check_content(upload: _Import, path: Path, ending: str) -> None:
    if ending != ".txt":
        if problem := check_picture(path, upload.spend_pixels):
            raise FileRefused(problem)
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused("The caption is not UTF-8 text.") from None
    if "\0" in text:
        raise FileRefused("The caption is not text.")


def _place(unfinished: Path, target: Path) -> bool:
    """Move the file to its place; False when the dataset already has an identical one."""
    if target.exists() or target.is_symlink():
        if target.is_symlink() or not target.is_file() or not filecmp.cmp(unfinished, target, shallow=False):
            raise FileRefused("The dataset already has a file with this name and other content.")
        return False
    unfinished.replace(target)
    return True


def _take_zip(upload: _Import, stream: BinaryIO) -> None:
    """Import the good files of a zip. Raises FileRefused when the archive as a whole is not acceptable."""
    file = stream if _is_seekable(stream) else _spooled(upload, stream)
    try:
        with zipfile.ZipFile(_BoundedReader(file, upload.limits.index_bytes)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not is_noise(entry.filename)]
            _check_archive(entries, upload.limits)
            images = [entry.filename for entry in entries if Path(entry.filename).suffix.lower() in ENDINGS]
            upload.offered = {Path(safe_name(path).name).stem for path in images}
            # Images first: a caption is only imported beside its image.
            for entry in sorted(entries, key=_is_caption):
                upload.attempt(entry.filename, partial(_take_entry, upload, archive, entry))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise FileRefused("The zip archive is damaged or not a zip.") from error
    finally:
        if file is not stream:
            file.close()


def _is_seekable(stream: BinaryIO) -> bool:
    return bool(getattr(stream, "seekable", lambda: False)())


def _spooled(upload: _Import, stream: BinaryIO) -> BinaryIO:
    path = upload.incoming / "archive"
    _copy(stream, path, upload.limits.zip_bytes)
    return path.open("rb")


def _check_archive(entries: list[zipfile.ZipInfo], limits: ImportLimits) -> None:
    if len(entries) > limits.entries:
        raise FileRefused(f"The zip contains {len(entries)} files; at most {limits.entries} are allowed.")
    if sum(entry.file_size for entry in entries) > limits.total_bytes:
        raise FileRefused(f"The zip unpacks to more than {size_text(limits.total_bytes)}, as a zip bomb does.")


def _take_entry(upload: _Import, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    problem = _entry_problem(entry)
    if problem is None and _is_caption(entry):
        problem = _owner_problem(upload, entry.filename)
    if problem is not None:
        raise FileRefused(problem)
    upload.packed_bytes += entry.compress_size
    try:
        with archive.open(entry) as stream:
            _take_file(upload, entry.filename, stream)
    except NotImplementedError as error:
        raise FileRefused("It is packed in a way that is not supported.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise FileRefused("It is damaged inside the zip.") from error
    upload.taken.add(_without_ending(entry.filename))


def _is_caption(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.lower().endswith(".txt")


def _without_ending(path: str) -> str:
    return unicodedata.normalize("NFC", path).rpartition(".")[0]


def _owner_problem(upload: _Import, path: str) -> str | None:
    """Why a zip's caption belongs to no image; folders are flattened, so the name alone is not enough."""
    if _without_ending(path) in upload.taken:
        return None
    name = Path(safe_name(path).name).stem
    if name in upload.offered:
        return "Its own image was not taken in; the image with this name is from another folder of the zip."
    # The zip has no such image, so the caption is for one that was there before.
    if name not in upload.image_stems:
        return "There is no image with this name, so the caption would be unused."
    return None


def _entry_problem(entry: zipfile.ZipInfo) -> str | None:
    # zipfile replaces backslashes and NULs in names; the original name is the one to check.
    if (problem := safe_name(entry.orig_filename).problem) or (problem := safe_name(entry.filename).problem):
        return problem
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "It is a symbolic link."
    if kind not in (0, stat.S_IFREG):
        return "It is not an ordinary file."
    if entry.flag_bits & 0x1:
        return "It is encrypted."
    # Other decoders raise errors of their own, and the ratio below does not limit them.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "It is compressed in a way that is not supported; make the zip with the usual method (deflate)."
    if entry.file_size > RATIO_FLOOR_BYTES and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        return f"It is compressed more than {MAX_RATIO}:1, as a zip bomb is."
    return None


class _BoundedReader:
    """A file with bounded reads: zipfile reads an archive's whole directory at once."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self.seek = file.seek
        self.tell = file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size > self._most_bytes:
            raise FileRefused("The zip's table of contents is too large.")
        data = self._file.read(self._most_bytes + 1 if size < 0 else size)
        if len(data) > self._most_bytes:
            raise FileRefused("The zip's table of contents is too large.")
        return data
