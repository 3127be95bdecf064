"""Reading a log that grows: for a moment at a time, never far behind, and anew when it was replaced."""

import os
from pathlib import Path

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.log_reader import LogReader


@pytest.fixture
def folder(tmp_path: Path) -> AttemptFolder:
    made = AttemptFolder(tmp_path / "attempt")
    made.make()
    return made


def read(reader: LogReader) -> bytes:
    return b"".join(data for data, _ in reader.pieces())


def reader(folder: AttemptFolder, **limits: float) -> LogReader:
    return LogReader(folder, WorkerLimits(**limits))  # type: ignore[arg-type]


def append(folder: AttemptFolder, data: bytes) -> None:
    with folder.log.open("ab") as log:
        log.write(data)


def test_what_is_new_is_read_once(folder: AttemptFolder) -> None:
    append(folder, b"late\n")
    log = reader(folder)
    assert log.is_late
    assert list(log.pieces()) == [(b"late\n", True)]
    append(folder, b"new")
    assert list(log.pieces()) == [(b"new", False)]
    assert (list(log.pieces()), log.is_at_end, log.is_late, log.has_skipped) == ([], True, False, False)


def test_one_look_takes_a_moment_however_much_there_is(folder: AttemptFolder) -> None:
    append(folder, b"x" * 100)
    log = reader(folder, read_at_once_bytes=10, read_for_s=0.0)
    assert [len(read(log)) for _ in range(9)] == [10] * 9
    assert not log.is_at_end
    assert len(read(reader(folder, read_at_once_bytes=10))) == 100


def test_what_is_too_far_behind_is_skipped_from_line_to_line(folder: AttemptFolder) -> None:
    append(folder, b"begin")
    log = reader(folder, skip_behind_bytes=100, read_after_skip_bytes=25)
    assert read(log) == b"begin"
    append(folder, b"".join(b"line %04d\n" % number for number in range(50)))
    assert read(log) == b"\nline 0048\nline 0049\n"
    assert log.has_skipped
    append(folder, b"and on")
    assert read(log) == b"and on"


@pytest.mark.parametrize("how", ["truncated", "replaced"])
def test_a_log_that_is_begun_anew_is_read_from_its_beginning(folder: AttemptFolder, how: str) -> None:
    append(folder, b"a long first line, half of it")
    log = reader(folder)
    read(log)
    if how == "truncated":
        folder.log.write_bytes(b"new\n")
    else:
        folder.log.with_name("other").write_bytes(b"new, and longer than the one before\n")
        folder.log.with_name("other").replace(folder.log)
    assert read(log).startswith(b"\nnew")
    assert log.is_at_end
    assert read(log) == b""


def test_a_log_that_vanishes_or_is_no_file_has_nothing_to_read(folder: AttemptFolder) -> None:
    append(folder, b"before")
    log = reader(folder)
    read(log)
    folder.log.unlink()
    assert (read(log), log.is_at_end) == (b"", True)
    os.mkfifo(folder.log)
    assert (read(log), log.is_at_end) == (b"", True)
