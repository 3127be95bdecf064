"""The SQLite file of the embedded source: its connections, and whether this code may use it."""

import os
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from lib.embedded.files.availability import HINT, FolderUnavailable, folder_unavailable
from lib.embedded.store.connection import connect, explain, transaction, use_wal
from lib.embedded.store.migrations import MIGRATIONS, Migration, level, migrate, refuse_newer
from lib.errors import StoreError

FILE_NAME = "lora.db"
MAX_IDLE_CONNECTIONS = 4

FileId = tuple[int, int]  # device and inode


class Database:
    """Connections to one SQLite file: each is used by one thread at a time and closed by ``close``.

    Raises:
        StoreError: The folder or the file cannot be used; the message names it.
    """

    def __init__(self, data_dir: Path, *, migrations: Sequence[Migration] = MIGRATIONS) -> None:
        self.path = data_dir / FILE_NAME
        self._known_level = migrations[-1].number
        self._idle: queue.LifoQueue[tuple[FileId, sqlite3.Connection]] = queue.LifoQueue(MAX_IDLE_CONNECTIONS)
        _require_folder(data_dir)
        try:
            with closing(connect(self.path, "rwc")) as connection:
                refuse_newer(connection, self._known_level, self.path)
                migrate(connection, migrations, self.path)
                use_wal(connection)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def file_id(self) -> FileId:
        """Which file is at the path now; an open connection would keep reading one that was moved away.

        Raises:
            FolderUnavailable: It is missing, or that is unknown.
        """
        return require_database(self.path.parent)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reads; single statements may also write."""
        with self._explained():
            file_id, connection = self._borrow()
            try:
                refuse_newer(connection, self._known_level, self.path)
                yield connection
            except BaseException:
                connection.close()
                raise
            self._give_back(file_id, connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection within one transaction, committed at the end and rolled back on any error."""
        with self.reading() as connection, transaction(connection):
            refuse_newer(connection, self._known_level, self.path)  # from here on the schema cannot change
            yield connection

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
                connection.close()  # another file has replaced the one it has open
        return here, self._connect_again()

    def _connect_again(self) -> sqlite3.Connection:
        connection = connect(self.path, "rw")
        try:
            if level(connection) >= self._known_level:
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

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self.file_id()  # raises when it is unavailable
            raise explain(error, self.path) from error
        except UnicodeEncodeError as error:
            raise StoreError("A text has half a character that cannot be stored.", hint="Type it again.") from error


def require_database(data_dir: Path) -> FileId:
    """Which file the database is. Raises FolderUnavailable when it is missing: it must not be created again."""
    try:
        found = (data_dir / FILE_NAME).stat()
    except FileNotFoundError as error:
        if data_dir.exists():  # such as the mount point of an unmounted disk
            message = f"The data folder {data_dir} is there, but its database {FILE_NAME} is not."
            raise FolderUnavailable(message, hint=HINT) from error
        raise folder_unavailable(data_dir, error) from error
    except OSError as error:
        raise folder_unavailable(data_dir, error) from error
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
