import io
import json
import os
import random
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

from lib.embedded.datasets import summary, thumbnails
from lib.embedded.datasets.importing import ImportLimits
from lib.embedded.datasets.library import DatasetFolder
from lib.errors import DatasetError

STARTED_AT = time.time()


def image_bytes(seed: int = 0, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
    content = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(content, format=kind)
    return content.getvalue()


def zip_bytes(*entries: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return content.getvalue()


@pytest.fixture
def datasets(tmp_path: Path) -> DatasetFolder:
    (tmp_path / "datasets").mkdir()
    return DatasetFolder(tmp_path / "datasets")


@pytest.fixture
def cats(datasets: DatasetFolder) -> str:
    return datasets.create("Cats").id


def set_age(path: Path, *, hours: float) -> None:
    at = STARTED_AT - hours * 3600
    os.utime(path, (at, at))


def every_file(root: Path) -> set[str]:
    names = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    return {name for name in names if not name.startswith(".cache/datasets") and name != ".cache"}


def test_a_dataset_from_creation_to_deletion(datasets: DatasetFolder) -> None:
    assert datasets.list() == ()
    made = datasets.create("  Мои коты / ねこ ")
    assert (made.name, made.status, made.image_count) == ("Мои коты / ねこ", "empty", 0)
    assert made.id.startswith("dataset-")
    with pytest.raises(DatasetError, match="already"):
        datasets.create("мои коты / ねこ")
    with pytest.raises(DatasetError, match="empty"):
        datasets.create(" ")
    assert datasets.import_file(made.id, "кот.png", io.BytesIO(image_bytes())).kept == ("кот.png",)
    datasets.scan(made.id, 10)
    datasets.delete(made.id)
    assert datasets.list() == ()
    assert every_file(datasets.root) == set()
    with pytest.raises(DatasetError, match="no dataset"):
        datasets.get(made.id)


def test_facts_come_with_the_scan(datasets: DatasetFolder, cats: str) -> None:
    entries = (
        ("a.png", image_bytes(1)),
        ("b.jpg", image_bytes(2, (64, 48), "JPEG")),
        ("c.webp", image_bytes(3, kind="WEBP")),
        ("copy.png", image_bytes(1)),
        ("a.txt", b"cat, red fur"),
        ("b.txt", "cat, \N{CAT}".encode()),
    )
    report = datasets.import_file(cats, "all.zip", io.BytesIO(zip_bytes(*entries)))
    assert (len(report.kept), report.captions, report.refused) == (6, 2, {})
    (datasets.path(cats) / "broken.png").write_bytes(image_bytes(4)[:200])
    (before,) = datasets.list()
    assert (before.image_count, before.caption_count, before.scanned) == (5, 2, False)
    assert (before.smallest, before.undecodable) == (None, ())
    assert dict(before.tag_counts) == {"cat": 2, "red fur": 1, "\N{CAT}": 1}
    parts = [datasets.scan(cats, 0) for _ in range(5)]
    assert parts == [0.2, 0.4, 0.6, 0.8, 1.0]
    (after,) = datasets.list()
    assert (after.smallest, after.largest, after.scanned) == ((24, 16), (64, 48), True)
    assert (before.sizes, sum(after.sizes.values())) == ({}, 4)
    assert {(24, 16), (64, 48)} <= after.sizes.keys()
    assert after.undecodable == ("broken.png",)
    assert after.duplicates == (("a.png", "copy.png"),)
    shown = datasets.images(cats, skip=1, take=2)
    assert [(each.name, each.caption, each.width) for each in shown] == [
        ("b.jpg", "cat, \N{CAT}", 64),
        ("broken.png", "", None),
    ]
    assert "damaged" in shown[1].error


def test_the_list_looks_at_no_file_until_something_came_or_went(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes()))
    datasets.import_file(cats, "a.txt", io.BytesIO(b"old"))
    folder = datasets.path(cats)
    for path in (folder, *folder.iterdir()):
        set_age(path, hours=1)  # a change that is certainly over is trusted at once
    first = datasets.list()
    (folder / "a.txt").write_text("words")  # in place, as some editors do
    (folder / "a.png").write_bytes(b"no picture any more")
    assert datasets.list() == first
    assert dict(datasets.get(cats).tag_counts) == {"words": 1}
    assert [dict(each.tag_counts) for each in datasets.list()] == [{"words": 1}]
    (folder / "a.png").rename(folder / "b.png")
    assert [each.uncaptioned for each in datasets.list()] == [("b.png",)]
    datasets.set_caption(cats, "b.png", "new, words")
    assert [dict(each.tag_counts) for each in datasets.list()] == [{"new": 1, "words": 1}]


@pytest.mark.parametrize("name", ["photo.Jpg", "photo.PNG", "photo.jPeG"])
def test_a_caption_belongs_to_an_image_whatever_the_case_of_its_suffix(
    datasets: DatasetFolder, cats: str, name: str
) -> None:
    content = io.BytesIO()
    Image.new("RGB", (30, 20)).save(content, format="PNG" if name.endswith("PNG") else "JPEG")
    datasets.import_file(cats, name, io.BytesIO(content.getvalue()))
    report = datasets.import_file(cats, "photo.txt", io.BytesIO(b"a cat"))
    assert (report.kept, report.stray_captions) == (("photo.txt",), ())
    (datasets.path(cats) / "photo.txt").unlink()
    report = datasets.import_file(cats, "captions.zip", io.BytesIO(zip_bytes(("photo.txt", b"a cat"))))
    assert (report.kept, report.refused) == (("photo.txt",), {})
    assert datasets.get(cats).caption_count == 1


@pytest.mark.parametrize("hours", [0.5, 3, -3], ids=["newer", "older", "of the future"])
def test_a_caption_written_over_in_place_is_seen(datasets: DatasetFolder, cats: str, hours: float) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes()))
    caption = datasets.path(cats) / "a.txt"
    for tags, age in (("old", 2.0), ("new", hours)):
        caption.write_text(tags)
        for path in (*caption.parent.iterdir(), caption.parent):
            set_age(path, hours=1)
        set_age(caption, hours=age)
        assert dict(datasets.get(cats).tag_counts) == {tags: 1}
    summary = json.loads((datasets.root / ".cache" / "datasets" / cats / "summary.json").read_bytes())
    assert summary["state"]  # trusted the next time, also when a file is of the future


def test_a_name_is_given_once_however_many_ask(datasets: DatasetFolder) -> None:
    def create(_: int) -> bool:
        try:
            return bool(DatasetFolder(datasets.root).create("Twins"))
        except DatasetError as error:
            return "already" not in str(error)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1
    assert [each.name for each in datasets.list()] == ["Twins"]


def test_a_folder_put_there_by_hand_is_a_dataset(datasets: DatasetFolder) -> None:
    folder = datasets.root / "10_my cats (1)"
    folder.mkdir(parents=True)
    (folder / "cafe\N{COMBINING ACUTE ACCENT}.PNG").write_bytes(image_bytes())
    (folder / "cafe\N{COMBINING ACUTE ACCENT}.txt").write_text("one")
    (folder / "notes.md").write_text("no image")
    (datasets.root / "link").symlink_to(folder)
    (found,) = datasets.list()
    assert (found.id, found.name, found.image_count, found.caption_count) == (folder.name, folder.name, 1, 1)
    (image,) = datasets.images(found.id)
    assert datasets.thumbnail(found.id, image.name).suffix == ".webp"


def test_captions_and_images_are_changed_one_by_one(datasets: DatasetFolder, cats: str) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        kind = "JPEG" if name.endswith("jpg") else "PNG"
        datasets.import_file(cats, name, io.BytesIO(image_bytes(kind=kind)))
    datasets.set_caption(cats, "a.png", " two\nlines ")
    assert [each.caption for each in datasets.images(cats)] == ["two lines", "two lines", ""]
    datasets.delete_image(cats, "a.png")
    assert [each.caption for each in datasets.images(cats)] == ["two lines", ""]  # a.jpg still has it
    datasets.delete_image(cats, "a.jpg")
    datasets.set_caption(cats, "b.png", "x")
    datasets.set_caption(cats, "b.png", " ")
    assert {path.name for path in datasets.path(cats).iterdir()} == {"b.png", ".dataset.json"}
    with pytest.raises(DatasetError, match="longer"):
        datasets.set_caption(cats, "b.png", "x" * 70_000)


def test_a_caption_without_an_image_is_told(datasets: DatasetFolder, cats: str) -> None:
    report = datasets.import_file(cats, "Orphan.TXT", io.BytesIO(b"of nothing"))
    assert (report.kept, report.stray_captions) == (("Orphan.txt",), ("Orphan.txt",))
    assert datasets.get(cats).stray_captions == ("Orphan.txt",)
    datasets.import_file(cats, "Orphan.png", io.BytesIO(image_bytes()))
    datasets.import_file(cats, "other.png", io.BytesIO(image_bytes(1)))
    assert (datasets.get(cats).stray_captions, datasets.get(cats).uncaptioned) == ((), ("other.png",))
    assert datasets.import_file(cats, "Orphan.txt", io.BytesIO(b"of nothing")).stray_captions == ()
    (datasets.path(cats) / "gone.txt").write_text("x")
    (datasets.path(cats) / "late.txt").write_text("x")
    datasets.delete_stray_captions(cats, ("gone.txt", "Orphan.txt", "../x.txt"))
    assert datasets.get(cats).stray_captions == ("late.txt",)
    assert (datasets.path(cats) / "Orphan.txt").exists()


def test_images_are_listed_among_names(datasets: DatasetFolder, cats: str) -> None:
    for number in range(4):
        datasets.import_file(cats, f"{number}.png", io.BytesIO(image_bytes(number)))
    among = ("3.png", "1.png", "../x.png", "gone.png", "2.png")
    assert [each.name for each in datasets.images(cats, take=2, among=among)] == ["1.png", "2.png"]
    assert datasets.images(cats, among=()) == ()
    assert datasets.image_names(cats) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_preview_is_large_and_goes_with_the_image(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes(size=(1500, 300))))
    preview = datasets.preview(cats, "a.png")
    with Image.open(preview) as picture:
        assert (picture.format, picture.size) == ("WEBP", (1024, 205))
    assert preview != datasets.thumbnail(cats, "a.png")
    datasets.scan(cats, 10)
    assert datasets.preview(cats, "a.png") == preview
    assert preview.exists()
    datasets.delete_image(cats, "a.png")
    datasets.scan(cats, 10)
    assert not preview.exists()
    with pytest.raises(DatasetError, match="no image"):
        datasets.preview(cats, "a.png")


def test_thumbnails_are_made_once_and_follow_the_file(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes(size=(1000, 500))))
    datasets.scan(cats, 10)
    first = datasets.thumbnail(cats, "a.png")
    with Image.open(first) as picture:
        assert (picture.format, picture.size) == ("WEBP", (256, 128))
    made_at = first.stat().st_mtime_ns
    assert datasets.thumbnail(cats, "a.png").stat().st_mtime_ns == made_at
    (datasets.path(cats) / "a.png").write_bytes(image_bytes(9, (30, 30)))
    assert datasets.thumbnail(cats, "a.png") != first
    assert datasets.scan(cats, 10) == 1.0
    assert not first.exists()
    assert datasets.get(cats).largest == (30, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_pixel_mode_has_a_thumbnail(datasets: DatasetFolder, cats: str, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    content = io.BytesIO()
    Image.new(mode, (40, 30)).save(content, format=kind)
    content.seek(0)
    assert datasets.import_file(cats, f"a.{kind.lower()}", content).refused == {}
    assert datasets.thumbnail(cats, f"a.{kind.lower()}").exists()


@pytest.mark.parametrize("bad", ["", ".", "..", "../cats", "/etc", "a/b", "a\\b", ".cache", "a\0b", "x" * 300, "nope"])
def test_ids_and_names_never_leave_the_folder(datasets: DatasetFolder, cats: str, bad: str, tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    for call in (datasets.get, datasets.delete, datasets.path, datasets.images):
        with pytest.raises(DatasetError):
            call(bad)
    for name in (bad, f"{bad}.png", f"../{cats}/{bad}"):
        for change in (datasets.thumbnail, datasets.delete_image):
            with pytest.raises(DatasetError):
                change(cats, name)
        with pytest.raises(DatasetError):
            datasets.set_caption(cats, name, "x")


def symlink_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def encrypted(data: bytes) -> bytes:
    """Set the encryption bit of every entry, in both places of the archive that tell."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + offset] |= 1
            at = changed.find(mark, at + 4)
    return bytes(changed)


def corrupted(data: bytes, name: bytes) -> bytes:
    changed = bytearray(data)
    at = changed.find(name) + len(name) + 40
    changed[at : at + 8] = bytes(8)
    return bytes(changed)


def with_short_exif() -> bytes:
    """A PNG whose pixels are good and whose EXIF block ends too early."""
    data = image_bytes(2)
    block = b"eXIf" + b"MM\0*"
    return data[:33] + struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block)) + data[33:]


def large_picture() -> bytes:
    content = io.BytesIO()
    Image.new("1", (9000, 9000)).save(content, format="PNG")
    return content.getvalue()


GOOD = ("good.png", image_bytes(1))
LZMA = zipfile.ZipInfo("lzma.png")
LZMA.compress_type = zipfile.ZIP_LZMA
HOSTILE: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "path traversal": (
        "a.zip",
        lambda: zip_bytes(("../../evil.png", image_bytes()), GOOD),
        "../../evil.png",
        "leads out",
    ),
    "backslashes": ("a.zip", lambda: zip_bytes(("..\\evil.png", image_bytes()), GOOD), "..\\evil.png", "leads out"),
    "absolute path": ("a.zip", lambda: zip_bytes(("/etc/evil.png", image_bytes()), GOOD), "/etc/evil.png", "absolute"),
    "drive": ("a.zip", lambda: zip_bytes(("C:evil.png", image_bytes()), GOOD), "C:evil.png", "absolute"),
    "hidden file": ("a.zip", lambda: zip_bytes((".evil.png", image_bytes()), GOOD), ".evil.png", "hidden"),
    "long name": ("a.zip", lambda: zip_bytes(("x" * 250 + ".png", b"x"), GOOD), "x" * 250 + ".png", "longer"),
    "symbolic link": ("a.zip", lambda: zip_bytes((symlink_entry("l.png"), b"/etc/passwd"), GOOD), "l.png", "symbolic"),
    "zip bomb": ("a.zip", lambda: zip_bytes(("bomb.png", bytes(4 << 20)), GOOD), "bomb.png", "zip bomb"),
    "odd compression": (
        "a.zip",
        lambda: zip_bytes((LZMA, image_bytes(2)), GOOD),
        "lzma.png",
        "not supported",
    ),
    "damaged EXIF block": ("a.zip", lambda: zip_bytes(("exif.png", with_short_exif()), GOOD), "exif.png", "damaged"),
    "nested zip": ("a.zip", lambda: zip_bytes(("in.zip", zip_bytes(GOOD)), GOOD), "in.zip", "zip inside"),
    "encrypted": ("a.zip", lambda: encrypted(zip_bytes(("a.png", image_bytes()))), "a.png", "encrypted"),
    "damaged entry": (
        "a.zip",
        lambda: corrupted(zip_bytes(("bad.png", image_bytes()), GOOD, compression=zipfile.ZIP_STORED), b"bad.png"),
        "bad.png",
        "damaged",
    ),
    "not an image": ("a.zip", lambda: zip_bytes(("page.png", b"<html>" * 9), GOOD), "page.png", "not a PNG"),
    "other kind": ("a.zip", lambda: zip_bytes(("run.exe", b"MZ"), GOOD), "run.exe", "not an image"),
    "truncated image": ("a.zip", lambda: zip_bytes(("t.png", image_bytes()[:300]), GOOD), "t.png", "damaged"),
    "decompression bomb": (
        "a.zip",
        lambda: zip_bytes(("l.png", large_picture()), GOOD, compression=0),
        "l.png",
        "9000 x",
    ),
    "empty file": ("a.zip", lambda: zip_bytes(("e.png", b""), GOOD), "e.png", "empty"),
    "caption of nothing": ("a.zip", lambda: zip_bytes(("readme.txt", b"hi"), GOOD), "readme.txt", "no image"),
    "not utf-8": ("a.zip", lambda: zip_bytes(("good.txt", b"\xff\xfe"), GOOD), "good.txt", "UTF-8"),
    "not a zip": ("a.zip", lambda: b"PK\x03\x04 nonsense", "a.zip", "damaged"),
    "cut zip": ("a.zip", lambda: zip_bytes(GOOD)[:-30], "a.zip", "damaged"),
    "hostile upload name": ("../../x.png", image_bytes, "../../x.png", "leads out"),
    "gif as png": ("g.png", lambda: image_bytes(kind="GIF"), "g.png", "not a PNG"),
    "same name, other bytes": ("there.png", lambda: image_bytes(5), "there.png", "already"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_upload_is_refused_by_name_and_leaves_nothing(
    datasets: DatasetFolder, cats: str, kind: str, tmp_path: Path
) -> None:
    name, make, refused_name, reason = HOSTILE[kind]
    datasets.import_file(cats, "there.png", io.BytesIO(image_bytes()))
    before, outside = every_file(datasets.root), set(tmp_path.iterdir())
    data = make()
    report = datasets.import_file(cats, name, io.BytesIO(data))
    assert set(report.refused) == {refused_name}
    assert reason in report.refused[refused_name]
    good = {"good.png"} if b"good.png" in data and report.refused.keys() != {name} else set()
    assert set(report.kept) == good
    assert every_file(datasets.root) == before | {f"{cats}/{each}" for each in good}
    assert set(tmp_path.iterdir()) == outside
    assert (datasets.path(cats) / "there.png").read_bytes() == image_bytes()


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("entries", 1, "at most 1"),
        ("total_bytes", 100, "zip bomb"),
        ("index_bytes", 64, "table of contents"),
        ("image_bytes", 100, "larger"),
    ],
)
def test_limits(datasets: DatasetFolder, cats: str, limit: str, value: int, reason: str) -> None:
    before = every_file(datasets.root)
    narrow = DatasetFolder(datasets.root, ImportLimits(**{limit: value}))
    report = narrow.import_file(cats, "a.zip", io.BytesIO(zip_bytes(GOOD, ("b.png", image_bytes(2)))))
    assert report.kept == ()
    assert all(reason in text for text in report.refused.values())
    assert every_file(datasets.root) == before


class OneWay(io.RawIOBase):
    """A stream that cannot be rewound and breaks after ``good_bytes``."""

    def __init__(self, data: bytes, good_bytes: int) -> None:
        self.data, self.good_bytes = io.BytesIO(data), good_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        if self.data.tell() >= self.good_bytes:
            raise ConnectionResetError("the browser went away")
        piece = self.data.read(min(len(buffer), self.good_bytes - self.data.tell()))
        buffer[: len(piece)] = piece
        return len(piece)


def one_way(data: bytes, good_bytes: int) -> BinaryIO:
    return io.BufferedReader(OneWay(data, good_bytes), 64)  # type: ignore[return-value]


def test_an_image_bomb_in_a_zip_is_stopped_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    limits = ImportLimits(free_pixels=500_000, pixels_per_byte=10, pixels=2_000_000)
    datasets = DatasetFolder(tmp_path / "datasets", limits)
    bomb = io.BytesIO()
    Image.new("1", (400, 400)).save(bomb, "PNG")
    flat = [(f"{number}.png", bomb.getvalue()) for number in range(10)]
    first = datasets.import_file(datasets.create("flat").id, "a.zip", io.BytesIO(zip_bytes(*flat)))
    assert len(first.kept) == 3, "as many pixels as are free, and what their bytes pay for"
    assert all("too many pixels" in reason for reason in first.refused.values())
    photos = [(f"{number}.png", image_bytes(number, (400, 400))) for number in range(14)]
    second = datasets.import_file(datasets.create("photos").id, "b.zip", io.BytesIO(zip_bytes(*photos)))
    assert len(second.kept) == 12, "what has bytes is paid for, up to the limit of one upload"


def test_two_uploads_into_one_dataset_do_not_work_at_once(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    datasets = DatasetFolder(tmp_path / "datasets", import_patience_s=0.1)
    cats, dogs = datasets.create("Cats").id, datasets.create("Dogs").id

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not refused:
                with pytest.raises(DatasetError, match="Another upload into this dataset"):
                    datasets.import_file(cats, "other.png", io.BytesIO(image_bytes()))
                refused.append(datasets.import_file(dogs, "other.png", io.BytesIO(image_bytes())).kept)
            return super().read(size)

    refused: list[tuple[str, ...]] = []
    assert datasets.import_file(cats, "slow.png", Slow(image_bytes())).kept == ("slow.png",)
    assert refused == [("other.png",)], "another dataset is free"
    assert datasets.import_file(cats, "other.png", io.BytesIO(image_bytes())).kept == ("other.png",)


def test_captions_without_images_cost_no_look_each(datasets: DatasetFolder, cats: str) -> None:
    folder = datasets.path(cats)
    (folder / "a.png").write_bytes(image_bytes())
    for name in ("a.txt", "b.txt", "c.txt", "d.png.txt"):
        (folder / name).write_text("x")
    assert len(summary._file_times(folder)) == 2
    assert set(datasets.get(cats).stray_captions) == {"b.txt", "c.txt", "d.png.txt"}


@pytest.mark.parametrize("name", ["a.png", "a.zip"])
def test_an_upload_that_breaks_off_leaves_nothing(datasets: DatasetFolder, cats: str, name: str) -> None:
    before = every_file(datasets.root)
    data = zip_bytes(GOOD) if name.endswith("zip") else image_bytes()
    with pytest.raises(DatasetError, match="could not be stored"):
        datasets.import_file(cats, name, one_way(data, len(data) // 2))
    assert every_file(datasets.root) == before
    assert "good.png" in datasets.import_file(cats, "a.zip", one_way(zip_bytes(GOOD), 10**9)).kept


def test_a_zip_of_a_trainers_folder_is_flattened_and_may_be_given_twice(datasets: DatasetFolder, cats: str) -> None:
    data = zip_bytes(
        ("10_cat/", b""),
        ("10_cat/e\N{COMBINING ACUTE ACCENT}.txt", b"cat"),
        ("10_cat/e\N{COMBINING ACUTE ACCENT}.png", image_bytes()),
        ("__MACOSX/10_cat/._e.png", b"junk"),
        ("10_cat/.DS_Store", b"junk"),
    )
    for known in ((), ("é.png", "é.txt")):
        report = datasets.import_file(cats, "cats.zip", io.BytesIO(data))
        assert (report.kept, report.captions, report.refused) == (("é.png", "é.txt"), 1, {})
        assert report.already_there == known
    assert [each.caption for each in datasets.images(cats)] == ["cat"]


def test_a_zipped_caption_stays_with_the_image_of_its_own_folder(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "there.png", io.BytesIO(image_bytes(9)))
    data = zip_bytes(
        ("cats/001.png", image_bytes(1)),
        ("dogs/001.png", image_bytes(2)),
        ("dogs/001.txt", b"a dog"),
        ("texts/there.txt", b"of an image that was there before"),
    )
    for _ in range(2):
        report = datasets.import_file(cats, "both.zip", io.BytesIO(data))
        assert report.kept == ("001.png", "there.txt")
        assert "other content" in report.refused["dogs/001.png"]
        assert "not taken in" in report.refused["dogs/001.txt"]
    assert [each.caption for each in datasets.images(cats)] == ["", "of an image that was there before"]
    alone = zip_bytes(("dogs/001.txt", b"a dog"), ("dogs/001.png", image_bytes(2)))
    assert datasets.import_file(cats, "dogs.zip", io.BytesIO(alone)).kept == ()


def test_what_killed_processes_left_goes_with_the_next_upload(datasets: DatasetFolder, cats: str) -> None:
    cache = datasets.root / ".cache"
    for name, hours in (("deleted-1", 0), ("incoming-old", 2), ("incoming-young", 2)):
        (cache / name).mkdir(parents=True)
        (cache / name / "archive").write_bytes(b"large")
        set_age(cache / name / "archive", hours=0 if name == "incoming-young" else hours)
        set_age(cache / name, hours=hours)
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes()))
    assert {path.name for path in cache.iterdir() if path.is_dir()} <= {"incoming-young", "datasets"}
    assert (cache / "incoming-young" / "archive").exists()


def test_facts_of_a_former_file_are_not_those_of_its_successor(datasets: DatasetFolder, cats: str) -> None:
    (datasets.path(cats) / "a.png").write_bytes(with_short_exif())
    assert datasets.scan(cats, 10) == 1.0
    assert (datasets.get(cats).undecodable, datasets.get(cats).scanned) == (("a.png",), True)
    datasets.delete_image(cats, "a.png")
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes(1)))
    assert (datasets.get(cats).undecodable, datasets.get(cats).scanned) == ((), False)
    datasets.scan(cats, 10)
    assert (datasets.get(cats).undecodable, datasets.get(cats).scanned) == ((), True)


def test_a_thumbnail_that_cannot_be_stored_is_not_the_images_fault(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes(1)))
    (datasets.root / ".cache" / "datasets" / cats / "thumbnails").write_bytes(b"in the way")
    with pytest.raises(DatasetError, match="could not be stored"):
        datasets.thumbnail(cats, "a.png")


def test_a_damaged_cache_is_made_again(datasets: DatasetFolder, cats: str) -> None:
    datasets.import_file(cats, "a.png", io.BytesIO(image_bytes()))
    datasets.scan(cats, 10)
    for path in (datasets.root / ".cache" / "datasets" / cats).glob("*.json"):
        path.write_text('{"version": 1, "pictures": {"a.png": 5}, "state": 7}')
    assert datasets.get(cats).image_count == 1
    assert datasets.scan(cats, 10) == 1.0
    assert datasets.get(cats).scanned


def test_pictures_within_the_limit_only(tmp_path: Path) -> None:
    (tmp_path / "l.png").write_bytes(large_picture())
    assert "at most 40 million" in thumbnails.check_picture(tmp_path / "l.png")


class FullDisk(io.BytesIO):
    """A stream that ends as a copy to a full disk does."""

    def read(self, _size: int | None = -1) -> bytes:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_in_one_sentence(datasets: DatasetFolder, cats: str) -> None:
    with pytest.raises(DatasetError, match="No space left") as caught:
        datasets.import_file(cats, "a.png", FullDisk())
    assert "disk" in caught.value.hint
