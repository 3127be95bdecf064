"""The processes of a drill: found by the data folder in their command line, and ended whatever happens."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from lib.embedded.store.database import FILE_NAME
from lib.embedded.worker.launcher import LOG_NAME
from lib.jobs.job_request import JobRequest
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from tests.embedded.worker.drill import recipe
from tests.reaper import kill_all, working_on
from tests.waiting import wait_for

DATASET_ID = "drill"
POLL_S = 0.05
# Marks in a command line -> what the process is.
ROLES = {
    "lib.embedded.worker.worker": "worker",
    "lib.embedded.worker.supervisor": "supervisor",
    "trainer.py": "trainer",
    "tests.embedded.worker.drill.dashboard": "dashboard",
}


def make_dataset(data_dir: Path) -> None:
    """A dataset with one image that nobody will look at."""
    folder = data_dir / "datasets" / DATASET_ID
    folder.mkdir(parents=True)
    (folder / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def open_source(data_dir: Path, *, max_parallel: int = 1) -> EmbeddedSource:
    """The embedded source with the drills' trainer."""
    return EmbeddedSource(data_dir, max_parallel=max_parallel, recipes=recipe.REFERENCE)


def drill_request(proof: Path, submission_id: str, *, mode: str = "train", seconds: float = 1.0) -> JobRequest:
    """A job of the drills' trainer."""
    return JobRequest(
        name=submission_id,
        dataset_id=DATASET_ID,
        config_id=None,
        settings=TrainingSettings(trainer=recipe.NAME, extra={"mode": mode, "seconds": seconds, "proof": str(proof)}),
        submission_id=submission_id,
    )


def living(data_dir: Path, *roles: str) -> list[tuple[str, psutil.Process, list[str]]]:
    """Role, process and argv of what works on a data folder now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            argv = process.cmdline()
            role = _role(argv, data_dir)
            # Until a child has become another program it looks like its parent.
            if role and (not roles or role in roles) and _role(_argv_of(process.ppid()), data_dir) != role:
                found.append((role, process, argv))
    return found


def _role(argv: list[str], data_dir: Path) -> str:
    """What a process is to a data folder, one of whose paths is among its arguments; empty when nothing."""
    if not any(part.startswith(str(data_dir)) for part in argv):
        return ""
    return next((role for mark, role in ROLES.items() if any(part.endswith(mark) for part in argv)), "")


def _argv_of(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def parents(data_dir: Path, role: str) -> set[int]:
    """Ids of the processes that started those of a role."""
    found = set()
    for _, process, _ in living(data_dir, role):
        with suppress(psutil.NoSuchProcess):
            found.add(process.ppid())
    return found


def kill(process: psutil.Process) -> None:
    """SIGKILL, unless it has just ended; psutil makes sure that the id is still the same process."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


@contextmanager
def all_killed_at_the_end(data_dir: Path) -> Iterator[None]:
    """Leave no process of a data folder behind."""
    try:
        yield
    finally:
        kill_all(lambda: working_on(data_dir))


def wait_until(data_dir: Path, condition: Callable[[], object], what: str) -> None:
    """Wait for something to become true; ``what`` and the scene are shown when it does not."""
    wait_for(condition, lambda: f"{what}\n{scene(data_dir)}", poll_s=POLL_S)


def scene(data_dir: Path) -> str:
    """What there is to see when something went wrong: processes, jobs, and what was complained about."""
    who = [f"{process.pid} {role} {process.status()}" for role, process, _ in living(data_dir)]
    with closing(sqlite3.connect(data_dir / FILE_NAME, timeout=30)) as database:
        jobs = [
            " ".join(map(str, row)) for row in database.execute("SELECT id, status, attempt FROM jobs ORDER BY seq")
        ]
    complaints = [data_dir / LOG_NAME, *data_dir.parent.glob("proof/*.err")]
    said = [path.read_text("utf-8", "replace") for path in complaints if path.exists()]
    return "\n".join([*who, *jobs, *said])


def assert_sound(data_dir: Path) -> None:
    """Nothing in the database is damaged, and its counters are right."""
    with closing(sqlite3.connect(data_dir / FILE_NAME, timeout=30)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        counted = dict(database.execute("SELECT status, jobs FROM status_counts WHERE jobs <> 0"))
        assert counted == dict(database.execute("SELECT status, count(*) FROM jobs GROUP BY status"))
