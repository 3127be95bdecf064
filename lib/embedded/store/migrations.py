"""The schema's history: numbered steps, forward only. CONTRIBUTING.md says how to add one.

Two numbers describe a file. Its *level*, the last step it went through, is in the table ``migrations``. Its ``PRAGMA
user_version`` is the lowest level whose code may still use it. A worker may run older code than the dashboard beside
it, and released code compares ``user_version`` alone: a step that only adds things leaves it, and older code works on.
"""

import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lib.embedded.files import locks
from lib.embedded.store.connection import MOVE_ASIDE, connect, transaction
from lib.errors import StoreError
from lib.jobs.query import search_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step.

    Attributes:
        what: What changes, in a few words; kept in the file.
        apply: Makes the change. It runs in a transaction and must neither commit nor use ``executescript``.
        oldest_code: The lowest level whose code can use the file afterwards. Raise it only to remove or rename
            something that released code uses, a release after the last code that used it.
    """

    number: int
    what: str
    apply: Callable[[sqlite3.Connection], None]
    oldest_code: int = 1


class OutdatedCodeError(StoreError):
    """A newer version changed the database so that this version must leave it alone."""


def user_version(connection: sqlite3.Connection) -> int:
    """The lowest level whose code may use the file; 0 when it is empty or not one of ours."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def level(connection: sqlite3.Connection) -> int:
    """The number of the last migration the file went through; 0 for an empty file."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migrations'").fetchone():
        return int(connection.execute("SELECT max(number) FROM migrations").fetchone()[0])
    return min(user_version(connection), 1)  # the first release had no such table


def refuse_newer(connection: sqlite3.Connection, known: int, path: Path) -> None:
    """Raise OutdatedCodeError when the file needs newer code than that of level ``known``."""
    if (needed := user_version(connection)) > known:
        raise OutdatedCodeError(
            f"The database {path} was written by a newer version of this dashboard "
            f"(it needs schema {needed}, this one knows {known}).",
            hint="Update the dashboard and restart it, or point LORA_DATA_DIR at another folder.",
        )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], path: Path) -> None:
    """Bring the file up to date in one transaction, once an older worker has stopped and a copy has been made.

    Processes that open the file meanwhile wait. An interrupted migration leaves the file as it was.
    """
    if level(connection) == 0:
        _apply(connection, migrations, path)
    elif level(connection) < migrations[-1].number:
        # A worker ends when its lock file is replaced; its trainings go on, and the next worker takes over.
        with locks.taken_from_holder(path.parent / locks.WORKER_LOCK):
            _apply(connection, migrations, path)


def _apply(connection: sqlite3.Connection, migrations: Sequence[Migration], path: Path) -> None:
    with transaction(connection):
        found = level(connection)  # another process may have migrated before this one got the lock
        to_come = [migration for migration in migrations if migration.number > found]
        if found == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(
                f"The file {path} is a database, but not one of this dashboard.", hint=MOVE_ASIDE.format(path=path)
            )
        if found and to_come:
            _keep_copy(path, found)
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(number INTEGER PRIMARY KEY, what TEXT NOT NULL, applied_at REAL NOT NULL)"
        )
        for migration in to_come:
            migration.apply(connection)
            connection.execute(
                "INSERT INTO migrations (number, what, applied_at) VALUES (?, ?, ?)",
                (migration.number, migration.what, datetime.now(UTC).timestamp()),
            )
            if migration.oldest_code > user_version(connection):
                connection.execute(f"PRAGMA user_version = {migration.oldest_code}")


def _keep_copy(path: Path, found: int) -> None:
    """Copy the file as it is before the change, as ``lora.db.schema-1.2026-11-28``."""
    target = path.with_name(f"{path.name}.schema-{found}.{datetime.now(UTC):%Y-%m-%d}")
    unfinished = target.with_name(f".{target.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        with closing(connect(path, "rw")) as source, closing(connect(unfinished, "rw")) as copy:
            source.backup(copy)  # the last committed state: the open transaction has not written anything yet
        unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        unfinished.replace(target)
    except OSError as error:
        raise StoreError(
            f"The database {path} could not be copied before its update ({error.strerror or error}).",
            hint="Nothing was changed. Check the data folder and the free disk space.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _statements((Path(__file__).parent / "schema.sql").read_text()):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _collapse_spaces(connection: sqlite3.Connection) -> None:
    """Searches compare with single spaces; the first release stored names as they were typed."""
    rows = connection.execute("SELECT seq, search_text FROM jobs WHERE instr(search_text, '  ')").fetchall()
    for seq, text in rows:
        renewed = "\n".join(map(search_key, text.split("\n")))
        values = (renewed.partition("\n")[0], renewed, seq)
        connection.execute("UPDATE jobs SET name_key = ?, search_text = ? WHERE seq = ?", values)


def _add_people(connection: sqlite3.Connection) -> None:
    """Who submitted, cancelled and retried a job last; NULL where nobody signs in."""
    for column in ("submitted_by", "cancelled_by", "retried_by"):
        connection.execute(f"ALTER TABLE jobs ADD COLUMN {column} TEXT")


def _sort_by_progress(connection: sqlite3.Connection) -> None:
    """What lists sort by; NULL when unknown. Triggers keep it up, so that a worker of older code does it, too."""
    for column in ("fraction", "loss"):
        connection.execute(f"ALTER TABLE jobs ADD COLUMN {column} REAL")
    connection.execute(
        f"""
        UPDATE jobs SET (fraction, loss) = (
            SELECT {_number_of("fraction", "progress")}, {_number_of("loss", "progress")}
            FROM attempts WHERE job_id = jobs.id AND number = jobs.attempt
        ) WHERE started_at IS NOT NULL
        """
    )
    kept = "created_at, id, status, finished_at"
    connection.execute(f"CREATE INDEX jobs_fraction ON jobs (fraction, {kept})")
    connection.execute(f"CREATE INDEX jobs_loss ON jobs (loss, {kept})")
    # The first release sorts by ``jobs_duration``, which has what is unknown at one end.
    connection.execute(f"CREATE INDEX jobs_lasted ON jobs (nullif(duration_s, -1), {kept}, duration_s)")
    for name, event in (("begun", "INSERT"), ("progressed", "UPDATE OF progress")):
        connection.execute(
            f"""
            CREATE TRIGGER attempts_{name} AFTER {event} ON attempts BEGIN
                UPDATE jobs SET fraction = {_number_of("fraction", "new.progress")},
                    loss = {_number_of("loss", "new.progress")}
                WHERE id = new.job_id AND attempt = new.number AND started_at IS NOT NULL;
            END
            """
        )
    connection.execute(
        """
        CREATE TRIGGER jobs_queued AFTER UPDATE OF started_at ON jobs WHEN new.started_at IS NULL BEGIN
            UPDATE jobs SET fraction = NULL, loss = NULL WHERE seq = new.seq;
        END
        """
    )


def _number_of(name: str, column: str) -> str:
    """SQL for a number of the progress, whose JSON may hold NaN and Infinity: SQLite knows neither."""
    text = f"replace(replace({column}, ':NaN', ':null'), 'Infinity', '9e999')"
    return f"CASE WHEN json_valid({text}) THEN json_extract({text}, '$.{name}') END"


def _add_retry_of(connection: sqlite3.Connection) -> None:
    """The id of the job whose values a job was started with; the index is what finds the way from there to here."""
    connection.execute("ALTER TABLE jobs ADD COLUMN retry_of TEXT")
    connection.execute("CREATE INDEX jobs_retries ON jobs (retry_of) WHERE retry_of IS NOT NULL")


def _add_outbox(connection: sqlite3.Connection) -> None:
    """Messages to be sent. ``sent_to`` has the places of services in the settings; addresses are never stored."""
    connection.execute(
        """
        CREATE TABLE outbox (
            id INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            event TEXT NOT NULL,
            title TEXT NOT NULL,
            body TEXT NOT NULL,
            job_id TEXT,
            created_at REAL NOT NULL,
            next_at REAL NOT NULL,
            tries INTEGER NOT NULL DEFAULT 0,
            sent_to TEXT NOT NULL DEFAULT '[]',
            problem TEXT NOT NULL DEFAULT '',
            done_at REAL
        )
        """
    )
    connection.execute("CREATE INDEX outbox_due ON outbox (next_at, id) WHERE done_at IS NULL")
    connection.execute("ALTER TABLE jobs ADD COLUMN notify INTEGER NOT NULL DEFAULT 1")


def _add_annotations(connection: sqlite3.Connection) -> None:
    """What people write on a job; the index is for lists of one tag, and holds only jobs that have one."""
    for column in ("note TEXT NOT NULL DEFAULT ''", "tags TEXT NOT NULL DEFAULT ''", "best TEXT NOT NULL DEFAULT ''"):
        connection.execute(f"ALTER TABLE jobs ADD COLUMN {column}")
    connection.execute("ALTER TABLE jobs ADD COLUMN is_starred INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX jobs_tagged ON jobs (created_at, id, tags, status, finished_at) WHERE tags <> ''")


def _add_machine(connection: sqlite3.Connection) -> None:
    """What the machine did while an attempt ran, at the last look, with the peaks of all; NULL when unknown."""
    connection.execute("ALTER TABLE attempts ADD COLUMN machine TEXT")


def _add_gpus(connection: sqlite3.Connection) -> None:
    """Which cards an attempt has, as CUDA names them."""
    connection.execute("ALTER TABLE attempts ADD COLUMN gpus TEXT NOT NULL DEFAULT '[]'")


def _add_holds_nan(connection: sqlite3.Connection) -> None:
    """Files whose weights are NaN or infinite somewhere. Workers of the first release write whole rows of artifacts."""
    connection.execute(
        """
        CREATE TABLE nan_files (
            job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
            attempt INTEGER NOT NULL,
            path TEXT NOT NULL,
            PRIMARY KEY (job_id, attempt, path)
        ) WITHOUT ROWID
        """
    )


def _add_origin(connection: sqlite3.Connection) -> None:
    """Where a job was started, and where its files are when that was not here."""
    connection.execute("ALTER TABLE jobs ADD COLUMN origin TEXT NOT NULL DEFAULT 'dashboard'")
    connection.execute("ALTER TABLE jobs ADD COLUMN place TEXT")


def _add_sweeps(connection: sqlite3.Connection) -> None:
    """The sweep that a job belongs to; the index is for its list, and holds only such jobs."""
    for column in ("sweep_id", "sweep_name"):
        connection.execute(f"ALTER TABLE jobs ADD COLUMN {column} TEXT")
    connection.execute(
        "CREATE INDEX jobs_swept ON jobs (sweep_id, created_at, id, status, finished_at) WHERE sweep_id IS NOT NULL"
    )


def _add_starts(connection: sqlite3.Connection) -> None:
    """What an attempt goes on from, as JSON; of a job what its latest or next attempt does. NULL: step 0."""
    for table in ("jobs", "attempts"):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN start TEXT")


def _add_executor(connection: sqlite3.Connection) -> None:
    """Where jobs run, told from their settings, and on which node an attempt runs; empty when unknown."""
    told = "CASE WHEN json_valid(settings) THEN json_extract(settings, '$.where') END"
    connection.execute(f"ALTER TABLE jobs ADD COLUMN executor TEXT AS (ifnull(nullif({told}, ''), 'local')) VIRTUAL")
    connection.execute("CREATE INDEX jobs_waiting ON jobs (executor, queue_rank) WHERE status = 'pending'")
    connection.execute("ALTER TABLE attempts ADD COLUMN node TEXT NOT NULL DEFAULT ''")


def _add_more_data(connection: sqlite3.Connection) -> None:
    """The datasets of a job beside its main one, as JSON; NULL for none."""
    connection.execute("ALTER TABLE jobs ADD COLUMN more_data TEXT")


MIGRATIONS = (
    Migration(number=1, what="the first schema", apply=_create),
    Migration(number=2, what="search texts have single spaces", apply=_collapse_spaces),
    Migration(number=3, what="who submitted, cancelled and retried a job", apply=_add_people),
    Migration(number=4, what="lists are sorted by progress, loss and duration", apply=_sort_by_progress),
    Migration(number=5, what="the job that a job retries", apply=_add_retry_of),
    Migration(number=6, what="messages to be sent", apply=_add_outbox),
    Migration(number=7, what="stars, notes, tags and picked files", apply=_add_annotations),
    Migration(number=8, what="what the machine does while an attempt runs", apply=_add_machine),
    Migration(number=9, what="the cards of an attempt", apply=_add_gpus),
    Migration(number=10, what="files that hold NaN", apply=_add_holds_nan),
    Migration(number=11, what="jobs that were started elsewhere", apply=_add_origin),
    Migration(number=12, what="sweeps", apply=_add_sweeps),
    Migration(number=13, what="what attempts go on from", apply=_add_starts),
    Migration(number=14, what="where jobs run", apply=_add_executor),
    Migration(number=15, what="further datasets of a job", apply=_add_more_data),
)
