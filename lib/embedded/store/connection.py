"""One connection to the SQLite file: opened with care, transactions, and errors in plain words."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.embedded.files.disk_space import free_bytes
from lib.errors import StoreError

BUSY_TIMEOUT_S = 10.0
LEAST_SPACE_BYTES = 128 << 10
MOVE_ASIDE = (
    "Nothing was changed. To start anew, stop the dashboard and move the file aside: mv '{path}' '{path}.broken'"
)
_RESCUE = (
    "Nothing was changed. Stop the dashboard and copy the file, with its -wal where there is one. "
    "sqlite3 '{path}' .recover prints as SQL what can still be read, where sqlite3 was built for it. "
    "To start anew, move the file aside: mv '{path}' '{path}.broken'"
)


class DiskFullError(StoreError):
    """No space is left where the data folder is."""


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open the file. Only the mode ``rwc`` creates it when it is missing."""
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


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: committed at the end, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite ignores its busy timeout here, so two first starts need patience."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """A StoreError that explains a SQLite error."""
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
    """Whether a vague error ("disk I/O error") is most likely about space."""
    try:
        return free_bytes(path.parent) < LEAST_SPACE_BYTES
    except OSError:
        return False
