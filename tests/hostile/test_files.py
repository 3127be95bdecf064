"""A pipe, link, folder or socket in place of any file of an attempt: nothing blocks, and nothing outside is shown."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lib.artifacts.lora.file import config_beside, read_local
from lib.embedded.files import locks
from lib.embedded.files.attempt_folder import AttemptFolder, Exit, folder_size
from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.files.job_files import JobFiles
from lib.embedded.trainers.kohya_files import PROMPTS_FILE, collect_kohya
from lib.embedded.trainers.kohya_states import kohya_states
from lib.embedded.trainers.recipe import EndedRun
from lib.embedded.worker.attempt_end import checked_files, judge_end
from lib.errors import ArtifactError, StoreError
from lib.jobs.job import Attempt, Job, JobStatus, LossPoint
from lib.jobs.training_settings import TrainingSettings

SECRET = b"S3CRET-outside"
PLACES = (
    *("log", "losses", "exit.json", "exit.reserved", "started.json", "cancel", "lock", "spec.json", "logs"),
    *("logs/events.out.tfevents.1", "output", "output/a.safetensors", f"output/{PROMPTS_FILE}", "output/sample"),
    *("output/sample/x_e000001_00_20261123155321_42.png", "output/x-state", "output/x.log", "rates", "validation"),
    *(f"output/x-state/{name}" for name in ("train_state.json", "model.safetensors", "optimizer.bin")),
    "output/adapter_config.json",
)
JOB = Job(id="job", name="j", status=JobStatus.RUNNING, attempt=1)


def a_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "x").write_bytes(b"x")


def a_link_to_a_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "secret.safetensors")


def a_link_to_a_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def a_link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "made-by-us")


def a_link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def a_link_to_an_endless_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def a_socket(path: Path, outside: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


KINDS = (
    *(a_pipe, a_folder, a_link_to_a_file, a_link_to_a_folder, a_link_to_nothing, a_link_to_itself),
    *(a_link_to_an_endless_device, a_socket),
)


@pytest.fixture(autouse=True)
def no_blocking() -> Iterator[None]:
    def is_stuck(*_: object) -> None:
        raise AssertionError("a look at a file blocked")

    former = signal.signal(signal.SIGALRM, is_stuck)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_blocks_and_nothing_outside_is_seen_or_touched(
    kind: Callable[[Path, Path], None], place: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "sample").mkdir(parents=True)
    for name in ("secret.safetensors", "events.out.tfevents.1", "x", "sample/prompt.txt"):
        (outside / name).write_bytes(SECRET)
    folder = AttemptFolder.of(tmp_path / "data", "job", 1)
    (tmp_path / "data").mkdir()
    folder.make()
    target = folder.path / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        target.rmdir()
    target.unlink(missing_ok=True)
    kind(target, outside)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in outside.rglob("*") if path.is_file()}
    seen = repr(list(everything_that_looks(folder, JobFiles(tmp_path / "data"))))
    assert SECRET.decode() not in seen
    assert before == {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in outside.rglob("*") if path.is_file()
    }


def everything_that_looks(folder: AttemptFolder, files: JobFiles) -> Iterator[object]:
    """What worker, supervisor and dashboard read and write of an attempt."""
    looks: list[Callable[[], object]] = [
        *(lambda: folder.read_log(0, 1 << 20), lambda: folder.log_end(100), folder.log_size, folder.last_output_at),
        *(folder.started, folder.was_never_started, folder.cancel_requested, folder.read_exit, folder.is_made),
        *(folder.require_available, folder.request_cancel, folder.trim_losses, folder.read_losses),
        lambda: folder.append_losses([LossPoint(step=1, loss=0.5, at=1.0)]),
        lambda: locks.is_held(folder.lock),
        *(lambda: folder_size(folder.path), lambda: collect_kohya(folder.output)),
        lambda: checked_files(folder.output, collect_kohya(folder.output), ()),
        lambda: judge_end(folder, Exit(exit_code=0, finished_at=1.0), collect_kohya(folder.output), ()),
        lambda: (
            read_local(folder.output / "a.safetensors").metadata if (folder.output / "a.safetensors").is_fifo() else 0
        ),
        lambda: kohya_states(EndedRun(output_dir=folder.output, settings=TrainingSettings())),
        lambda: config_beside(folder.output / "adapter_model.safetensors"),
        *(lambda: files.read_log("job", 1, 0, 1 << 20), lambda: files.loss_points("job", 1)),
        lambda: files.log_artifact(JOB, Attempt(number=1, status=JobStatus.RUNNING, started_at=datetime.now(UTC))),
        *(lambda path=path: shown(files, path) for path in ("a.safetensors", "secret.safetensors", "x", "sample/x")),
        lambda: folder.write_exit(Exit(exit_code=0, finished_at=1.0)),
    ]
    for look in looks:
        with suppress(OSError, FolderUnavailable, ArtifactError, StoreError):
            yield look()


def shown(files: JobFiles, path: str) -> bytes:
    """What a download of a file of the attempt would send."""
    found = files.artifact_path("job", f"1/{path}")
    return found.read_bytes() if found else b""


@pytest.mark.parametrize("place", ["log", "exit.json", "exit.reserved", "started.json", "cancel", "output", "lock"])
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_an_end_is_recorded_whatever_the_trainer_left_in_place_of_our_files(
    place: str, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    folder = AttemptFolder.of(tmp_path / "data", "job", 1)
    folder.make()
    if (folder.path / place).is_dir():
        (folder.path / place).rmdir()
    (folder.path / place).unlink(missing_ok=True)
    if kind == "link":
        (folder.path / place).symlink_to(tmp_path / "nowhere")
    else:
        (folder.path / place / "full").mkdir(parents=True)
    folder.write_exit(Exit(exit_code=3, finished_at=1.0))
    found = folder.read_exit()
    assert found is not None
    assert found.exit_code == 3
    assert folder.read_log(0, 10) == b""
    assert not (tmp_path / "nowhere").exists()
