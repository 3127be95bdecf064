"""The SQLite file of the embedded source: opened with care, never overwritten, errors in plain words."""

import os
import queue
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from lib.embedded.files.availability import HINT, OutOfReach, out_of_reach
from lib.errors import StoreError

SCHEMA_VERSION = 1
FILE_NAME = "lora.db"
BUSY_TIMEOUT_S = 10.0
MAX_IDLE_CONNECTIONS = 4
LEAST_SPACE_BYTES = 128 << 10

FileId = tuple[int, int]  # device and inode


class DiskFullError(StoreError):
    """No space is left where the data folder is."""


class Database:
    """Connections to one SQLite file: each is used by one thread at a time and closed by ``close``.

    Raises:
        StoreError: The folder or the file cannot be used; the message names it.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME
        self._idle: queue.LifoQueue[tuple[FileId, sqlite3.Connection]] = queue.LifoQueue(MAX_IDLE_CONNECTIONS)
        _require_folder(data_dir)
        try:
            with closing(_connect(self.path, "rwc")) as connection:
                self._prepare(connection)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def file_id(self) -> FileId:
        """Which file is at the path now: what is read from an open one that was moved away is no news.

        Raises:
            OutOfReach: None, or nobody can tell.
        """
        return require_database(self.path.parent)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reads; single statements may also write."""
        with self._explained():
            file_id, connection = self._borrow()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(file_id, connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction, committed at the end and rolled back on any error."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they come back."""
        while True:
            try:
                self._idle.get_nowait()[1].close()
            except queue.Empty:
                return

    def _borrow(self) -> tuple[FileId, sqlite3.Connection]:
        here = self.file_id()
        with suppress(queue.Empty):
            while True:
                file_id, connection = self._idle.get_nowait()
                if file_id == here:
                    return here, connection
                connection.close()  # another file took the place of the one it has open
        return here, self._connect_again()

    def _connect_again(self) -> sqlite3.Connection:
        connection = _connect(self.path, "rw")
        try:
            if _user_version(connection) == SCHEMA_VERSION:
                return connection
            raise StoreError(f"The database {self.path} was replaced by another one.", hint="Restart the dashboard.")
        except BaseException:
            connection.close()
            raise

    def _give_back(self, file_id: FileId, connection: sqlite3.Connection) -> None:
        try:
            self._idle.put_nowait((file_id, connection))
        except queue.Full:
            connection.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = _user_version(connection)
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"The database {self.path} was written by a newer version of this dashboard "
                f"(schema {version}, this one knows {SCHEMA_VERSION}).",
                hint="Update the dashboard, or point LORA_DATA_DIR at another folder.",
            )
        if version < SCHEMA_VERSION:
            self._create(connection)
        _use_wal(connection)

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster between the look and the lock.
            if _user_version(connection) == 0:
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise StoreError(
                        f"The file {self.path} is a database, but not one of this dashboard.",
                        hint=_MOVE_ASIDE.format(path=self.path),
                    )
                for statement in _statements((Path(__file__).parent / "schema.sql").read_text()):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.file_id()  # says so when it is away
            raise explain(error, self.path) from error


_MOVE_ASIDE = (
    "Nothing was changed. To start anew, stop the dashboard and move the file aside: mv '{path}' '{path}.broken'"
)
_RESCUE = (
    "Nothing was changed. Stop the dashboard and copy the file, with its -wal where there is one. "
    "sqlite3 '{path}' .recover prints as SQL what can still be read, where sqlite3 was built for it. "
    "To start anew, move the file aside: mv '{path}' '{path}.broken'"
)


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """What a SQLite error means to a person."""
    text = str(error)
    if "disk is full" in text or (("I/O" in text or "unable to open" in text) and _is_full(path)):
        return DiskFullError(
            f"The disk of the data folder {path.parent} is full.", hint="Free some space; nothing was lost."
        )
    if "not a database" in text or "malformed" in text:
        return StoreError(f"The database {path} is damaged ({text}).", hint=_RESCUE.format(path=path))
    if "locked" in text or "busy" in text:
        return StoreError(f"The database {path} is in use and did not answer in time.", hint="Try again in a moment.")
    if "readonly" in text or "unable to open" in text:
        return StoreError(
            f"The database {path} cannot be opened for writing ({text}).",
            hint="Check that the file and its folder exist and belong to the user who runs the dashboard.",
        )
    return StoreError(f"The database {path} cannot be used ({text}).", hint="See the message above.")


def _is_full(path: Path) -> bool:
    """Whether a vague error ("disk I/O error") is most likely one about space."""
    try:
        return shutil.disk_usage(path.parent).free < LEAST_SPACE_BYTES
    except OSError:
        return False


def require_database(data_dir: Path) -> FileId:
    """Which file the database is. Raises OutOfReach when there is none: it is only away, and not to be made anew."""
    try:
        found = (data_dir / FILE_NAME).stat()
    except FileNotFoundError as error:
        if data_dir.exists():  # such as the place where a disk that is away was mounted
            message = f"The data folder {data_dir} is there, but its database {FILE_NAME} is not."
            raise OutOfReach(message, hint=HINT) from error
        raise out_of_reach(data_dir, error) from error
    except OSError as error:
        raise out_of_reach(data_dir, error) from error
    return found.st_dev, found.st_ino


def _require_folder(data_dir: Path) -> None:
    hint = "Create it, or set LORA_DATA_DIR to a folder that you may write to."
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The data folder {data_dir} cannot be created ({error.strerror or error}).", hint=hint
        ) from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StoreError(f"The data folder {data_dir} cannot be written to.", hint=hint)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file; only the mode ``rwc`` makes one where there is none."""
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(
        address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cache_size = -16000")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for its busy timeout here, so two first starts need patience."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; ``executescript`` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
