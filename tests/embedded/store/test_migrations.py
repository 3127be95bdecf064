"""Databases of former and later releases, and two releases at once: nothing is lost, nothing is written blindly."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from lib.access import acting_as
from lib.embedded.files import locks
from lib.embedded.store.database import Database
from lib.embedded.store.jobs import Store
from lib.embedded.store.migrations import MIGRATIONS, Migration, OutdatedCodeError, level, user_version
from lib.embedded.store.runs import AttemptEnd
from lib.errors import StoreError
from lib.jobs.failures.judge import Verdict
from lib.jobs.job import JobLink, JobStatus
from lib.jobs.job_request import JobRequest
from lib.jobs.query import JobQuery, SortBy
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingSettings
from tests.contract.houses import NOW
from tests.embedded.worker.drill.processes import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
RELEASE_1 = (Path(__file__).parent / "release_1.sql").read_text()
LATEST = MIGRATIONS[-1].number


def make_release_1(folder: Path, count: int = 3) -> Path:
    """A data folder as the first release left it, with ended jobs, one pending and one running."""
    folder.mkdir(exist_ok=True)
    path = folder / "lora.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(f"BEGIN; {RELEASE_1} PRAGMA user_version = 1; COMMIT;")
        status = f"CASE n WHEN {count} THEN 'pending' WHEN {count - 1} THEN 'running' ELSE 'succeeded' END"
        numbers = f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
        old.execute(
            f"""
            INSERT INTO jobs (id, name, name_key, search_text, status, attempt, created_at, started_at, updated_at,
                finished_at, duration_s, dataset_id, dataset_name, trainer, settings, submission_id, queue_rank)
            {numbers}
            SELECT 'job-' || n, 'Two  spaces ' || n, 'two  spaces ' || n,
                'two  spaces ' || n || char(10) || 'job-' || n,
                {status}, n < {count}, n, CASE WHEN n < {count} THEN n END, n + 60,
                CASE WHEN n < {count} - 1 THEN n + 60 END, 60, 'cats', 'Cats', 'tiny',
                '{{"trainer":"tiny","epochs":3}}', 'submission-' || n, n
            FROM numbers
            """
        )
        old.execute(
            f"""
            INSERT INTO attempts (job_id, number, status, started_at, progress)
            {numbers} SELECT 'job-' || n, 1, {status}, n, '{{"step":5,"loss":NaN}}' FROM numbers WHERE n < {count}
            """
        )
    path.chmod(0o640)
    return path


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without the product's checks, as another version would hold one."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def tables(path: Path) -> dict[str, str]:
    """Everything a database holds by name, as the SQL that made it, without comments and line breaks."""
    with opened(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(line.partition("--")[0] for line in sql.splitlines()) for name, sql in rows}


def content(path: Path) -> list[str]:
    """All that a database holds, as SQL."""
    with opened(path) as connection:
        return list(connection.iterdump())


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("lora.db.schema-*"))


def test_the_jobs_of_the_first_release_are_kept_and_so_is_a_copy(tmp_path: Path) -> None:
    count = 50_000
    path = make_release_1(tmp_path / "data", count)
    started = time.process_time()
    with closing(Store(path.parent, lambda: NOW)) as store:
        assert time.process_time() - started < 20
        assert store.list_jobs(JobQuery(search="two spaces 4711")).total == 11
        assert store.list_jobs(JobQuery(sort_by=SortBy.NAME)).total == count
        counts = {JobStatus.SUCCEEDED: count - 2, JobStatus.RUNNING: 1, JobStatus.PENDING: 1}
        assert dict(store.count_by_status()) == counts
        job = store.get_job("job-7")
        assert (job.name, job.settings["epochs"], job.progress.step) == ("Two  spaces 7", 3, 5)
    with opened(path) as connection:
        assert (level(connection), user_version(connection)) == (LATEST, 1)
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    (copy,) = copies(path.parent)
    assert copy.name.startswith("lora.db.schema-1.20")
    assert copy.stat().st_mode == path.stat().st_mode
    with opened(copy) as connection:
        assert level(connection) == 1
        found = connection.execute("SELECT count(*) FROM jobs WHERE instr(search_text, 'two  spaces')").fetchone()
        assert found[0] == count


def test_jobs_of_the_first_release_are_nobody_s_until_somebody_acts(tmp_path: Path) -> None:
    path = make_release_1(tmp_path / "data")
    with closing(Store(path.parent, lambda: NOW)) as store:
        assert store.get_job("job-3").submitted_by is None
        token = acting_as.set("ann@corp.example")
        store.cancel("job-3")
        acting_as.reset(token)
        store.retry("job-1")
        assert store.get_job("job-3").cancelled_by == "ann@corp.example"
        assert store.get_job("job-1").retried_by is None


def test_jobs_of_the_first_release_are_sorted_by_progress_that_any_worker_writes(tmp_path: Path) -> None:
    path = make_release_1(tmp_path / "data", 4)
    with opened(path) as connection:
        for number, progress in (
            (1, '{"fraction":1.0,"loss":NaN}'), (2, '{"fraction":0.5,"loss":Infinity}'), (3, '{"loss":0.25}'),
        ):  # fmt: skip
            connection.execute("UPDATE attempts SET progress = ? WHERE job_id = ?", (progress, f"job-{number}"))

    def ids(store: Store, sort_by: SortBy) -> list[str]:
        return [job.id.removeprefix("job-") for job in store.list_jobs(JobQuery(sort_by=sort_by)).jobs]

    with closing(Store(path.parent, lambda: NOW)) as store:
        assert ids(store, SortBy.PROGRESS) == ["1", "2", "4", "3"]
        assert ids(store, SortBy.LOSS) == ["2", "3", "4", "1"]
        with opened(path) as connection:  # as a worker of the first release records it
            progress = '{"fraction":0.75,"loss":-Infinity,"stage":"x"}'
            connection.execute("UPDATE attempts SET progress = ? WHERE job_id = 'job-3'", (progress,))
        assert ids(store, SortBy.PROGRESS) == ["1", "3", "2", "4"]
        assert ids(store, SortBy.LOSS) == ["2", "3", "4", "1"]
        store.retry("job-2")  # what it waits for has no progress yet
        assert ids(store, SortBy.PROGRESS) == ["1", "3", "4", "2"]
        assert "loss" not in store.get_job("job-1").payload


def test_people_are_told_of_a_job_of_the_first_release(tmp_path: Path) -> None:
    with closing(Store(make_release_1(tmp_path / "data").parent, lambda: NOW)) as store:
        store.runs.told = ("failed",)
        (claim,) = store.runs.running()
        assert not store.outbox.has_unsent()
        store.runs.finish(claim, AttemptEnd(verdict=Verdict(status=JobStatus.FAILED), finished_at=60.0))
        message = store.outbox.claim(NOW.timestamp(), (30.0, 30.0))
        assert message is not None
        assert message.title == "Two  spaces 2 failed"


def test_a_job_of_the_first_release_can_be_retried_as_another(tmp_path: Path) -> None:
    path = make_release_1(tmp_path / "data")
    with closing(Store(path.parent, lambda: NOW)) as store:
        assert store.get_job("job-1").retry_of is None
        request = JobRequest(
            name="again",
            dataset_id="cats",
            config_id=None,
            settings=TrainingSettings(),
            submission_id="s",
            retry_of="job-1",
        )
        again = store.submit(request, dataset_name="Cats", config_name=None)
        assert again.retry_of == JobLink(id="job-1", name="Two  spaces 1")
        assert store.get_job("job-1").retried_as == (JobLink(id=again.id, name="again"),)


def test_a_migrated_file_is_like_a_new_one(tmp_path: Path) -> None:
    path = make_release_1(tmp_path / "old")
    for folder in (path.parent, tmp_path / "new"):
        Database(folder).close()
    assert tables(path) == tables(tmp_path / "new" / "lora.db")
    assert copies(tmp_path / "new") == []
    Database(path.parent).close()
    assert len(copies(path.parent)) == 1


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = make_release_1(tmp_path)
    before = tables(path)

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE jobs ADD COLUMN colour TEXT")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    with pytest.raises(StoreError, match="nowhere"):
        Database(tmp_path, migrations=(*MIGRATIONS, Migration(number=LATEST + 1, what="broken", apply=broken)))
    assert tables(path) == before
    Database(tmp_path).close()
    assert len(copies(tmp_path)) == 1


KILLED_HALFWAY = """
import sys, time
from pathlib import Path
from lib.embedded.store.database import Database
from lib.embedded.store.migrations import MIGRATIONS, Migration

def half(connection):
    connection.execute("ALTER TABLE jobs ADD COLUMN colour TEXT")
    connection.execute("UPDATE jobs SET colour = 'red', search_text = ''")
    Path(sys.argv[1], "half").touch()
    time.sleep(600)

Database(Path(sys.argv[1]), migrations=(*MIGRATIONS, Migration(number=99, what="hangs", apply=half)))
"""


def test_a_migration_that_is_killed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = make_release_1(tmp_path)
    before = tables(path)
    process = subprocess.Popen([sys.executable, "-c", KILLED_HALFWAY, str(tmp_path)], cwd=ROOT)
    try:
        wait_until(tmp_path, (tmp_path / "half").exists, "the migration did not begin")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    assert tables(path) == before
    with closing(Store(tmp_path)) as store:
        assert store.list_jobs(JobQuery(search="two spaces")).total == 3


def test_two_processes_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    path = make_release_1(tmp_path)
    runs = []

    def slow(connection: sqlite3.Connection) -> None:
        runs.append(threading.get_ident())
        connection.execute("ALTER TABLE jobs ADD COLUMN colour TEXT")
        time.sleep(0.3)

    steps = (*MIGRATIONS, Migration(number=LATEST + 1, what="a colour", apply=slow))
    with ThreadPoolExecutor(2) as pool:
        for database in pool.map(lambda _: Database(tmp_path, migrations=steps), range(2)):
            database.close()
    assert len(runs) == 1
    assert not locks.is_held(tmp_path / locks.WORKER_LOCK)
    with opened(path) as connection:
        numbers = connection.execute("SELECT number FROM migrations ORDER BY number").fetchall()
    assert [row["number"] for row in numbers] == [*range(2, LATEST + 2)]


# Old and new code beside each other


def run_a_job_as_release_1(connection: sqlite3.Connection) -> None:
    """The statements with which the worker of the first release claims a job, follows it, and records its end."""
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 1  # or it says "was replaced by another one"
    connection.execute("BEGIN IMMEDIATE")
    (claimed,) = connection.execute(
        """
        UPDATE jobs SET status = 'running', attempt = attempt + 1, started_at = 9, updated_at = 9,
            finished_at = NULL, duration_s = 0
        WHERE status = 'pending'
            AND id = (SELECT id FROM jobs WHERE status = 'pending' ORDER BY queue_rank LIMIT 1)
        RETURNING *
        """
    ).fetchall()
    connection.execute(
        "INSERT INTO attempts (job_id, number, status, started_at) VALUES (?, 1, 'running', 9)", (claimed["id"],)
    )
    connection.execute("COMMIT")
    connection.execute("UPDATE attempts SET progress = '{\"step\":7}' WHERE job_id = ?", (claimed["id"],))
    marks = ", ".join("?" * 11)  # it knows the columns by their places only
    values = (claimed["id"], 1, "lora.safetensors", "lora", 8, 9, None, None, None, None, None)
    connection.execute(f"INSERT INTO artifacts VALUES ({marks})", values)
    connection.execute("UPDATE jobs SET status = 'succeeded', finished_at = 69 WHERE id = ?", (claimed["id"],))
    connection.execute("UPDATE attempts SET status = 'succeeded' WHERE job_id = ?", (claimed["id"],))


def test_a_worker_of_the_first_release_goes_on_with_todays_schema(tmp_path: Path) -> None:
    path = make_release_1(tmp_path)
    with opened(path) as old, closing(Store(tmp_path)) as store:  # and one that opens the file only now
        run_a_job_as_release_1(old)
        ended = store.get_job("job-3")
        assert (ended.status, ended.progress.step, len(ended.artifacts)) == (JobStatus.SUCCEEDED, 7, 1)


class FormerWorker(threading.Thread):
    """What the worker of the first release does about its lock: it works until the locked file was deleted."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.lock = folder / locks.WORKER_LOCK
        self.shifts = 0
        self.is_at_work = threading.Event()

    def run(self) -> None:
        while (lock := locks.take(self.lock, patience_s=1.0)) is not None:
            self.shifts += 1
            self.is_at_work.set()
            while not locks.is_deleted(lock):
                time.sleep(0.2)
            os.close(lock)


def test_a_worker_of_a_former_release_leaves_before_the_schema_changes(tmp_path: Path) -> None:
    make_release_1(tmp_path)
    worker = FormerWorker(tmp_path)
    worker.start()
    assert worker.is_at_work.wait(30)

    def check(connection: sqlite3.Connection) -> None:
        worker.join(30)
        connection.execute("ALTER TABLE jobs ADD COLUMN colour TEXT")

    step = Migration(number=LATEST + 1, what="a colour", apply=check)
    Database(tmp_path, migrations=(*MIGRATIONS, step)).close()
    assert not worker.is_alive()
    assert worker.shifts == 1
    assert not locks.is_held(tmp_path / locks.WORKER_LOCK)


def contract(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE jobs DROP COLUMN time_limit_s")


CONTRACTED = (*MIGRATIONS, Migration(number=LATEST + 1, what="no time limit", apply=contract, oldest_code=LATEST + 1))


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.list_jobs(JobQuery()),
        lambda store: store.runs.claim_next(),
        lambda store: store.get_job("x"),
    ],
)
def test_code_that_a_later_release_ruled_out_says_so_and_writes_nothing(
    tmp_path: Path, use: Callable[[Store], object]
) -> None:
    path = make_release_1(tmp_path)
    with closing(Store(tmp_path)) as store:
        store.list_jobs(JobQuery())  # its connection is open when the schema changes
        Database(tmp_path, migrations=CONTRACTED).close()
        before = content(path)
        with pytest.raises(OutdatedCodeError, match=f"needs schema {LATEST + 1}, this one knows {LATEST}") as refused:
            use(store)
        assert "Update the dashboard" in refused.value.hint
    with pytest.raises(OutdatedCodeError, match=str(path)):
        Store(tmp_path)
    assert content(path) == before


def test_jobs_from_before_begin_at_step_0_and_can_be_continued(tmp_path: Path) -> None:
    make_release_1(tmp_path)
    with closing(Store(tmp_path)) as store:
        ended = next(job for job in store.list_jobs(JobQuery()).jobs if job.status.is_terminal)
        assert (ended.start, [attempt.start for attempt in store.get_job(ended.id).attempts]) == (None, [None])
        start = Start(attempt=1, path="a-state", step=7, epochs=9)
        assert store.retry(ended.id, start).start == start


def test_jobs_from_before_have_one_dataset(tmp_path: Path) -> None:
    make_release_1(tmp_path)
    with closing(Store(tmp_path)) as store:
        assert {job.more_data for job in store.list_jobs(JobQuery()).jobs} == {()}
        assert store.active_job_names(dataset_id="cats") == ["Two  spaces 2", "Two  spaces 3"]
        claim = store.runs.claim_next()
        assert claim is not None
        assert claim.more_data == ()


def test_a_claim_that_waits_for_the_change_writes_nothing_either(tmp_path: Path) -> None:
    make_release_1(tmp_path)
    with closing(Store(tmp_path)) as store, ThreadPoolExecutor(1) as pool:
        store.list_jobs(JobQuery())
        claims = []

        def slow(connection: sqlite3.Connection) -> None:
            claims.append(pool.submit(store.runs.claim_next))  # it waits for this transaction to end
            time.sleep(0.3)
            contract(connection)

        step = Migration(number=LATEST + 1, what="no time limit", apply=slow, oldest_code=LATEST + 1)
        with suppress(StoreError):
            Database(tmp_path, migrations=(*MIGRATIONS, step)).close()
        with pytest.raises(OutdatedCodeError):
            claims[0].result(30)


def test_an_expanded_schema_is_used_by_todays_code(tmp_path: Path) -> None:
    make_release_1(tmp_path)

    def expand(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE artifacts ADD COLUMN digest TEXT")
        connection.execute("ALTER TABLE configs ADD COLUMN owner TEXT")

    with closing(Store(tmp_path)) as running:
        running.list_jobs(JobQuery())
        step = Migration(number=LATEST + 1, what="more columns", apply=expand)
        Database(tmp_path, migrations=(*MIGRATIONS, step)).close()
        assert running.runs.claim_next() is not None
    with closing(Store(tmp_path)) as opened_later:
        assert opened_later.list_jobs(JobQuery()).total == 3
