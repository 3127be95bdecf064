"""What people write on jobs of another source: kept in a small database of its own in the data folder."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from lib.embedded.store.connection import connect, explain, transaction, use_wal
from lib.errors import StoreError
from lib.jobs.annotations import Annotations

FILE_NAME = "annotations.db"
_TABLE = "CREATE TABLE IF NOT EXISTS annotations (source TEXT, job_id TEXT, content TEXT, PRIMARY KEY (source, job_id))"
_PARTS = tuple(each.name for each in fields(Annotations))


class SideTable:
    """Annotations by job id. Nothing is created before somebody writes something.

    Args:
        data_dir: The dashboard's data folder.
        source: Tells the jobs of one deployment from those of another.
    """

    def __init__(self, data_dir: Path, source: str) -> None:
        self.path = data_dir / FILE_NAME
        self._source = source

    def read(self) -> Mapping[str, Annotations]:
        """All of them. Raises StoreError."""
        try:
            self.path.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"The database {self.path} cannot be read ({error.strerror or error}).") from error
        with self._opened() as connection:
            rows = connection.execute("SELECT job_id, content FROM annotations WHERE source = ?", (self._source,))
            return {row["job_id"]: _annotations(row["content"]) for row in rows}

    def write(self, job_id: str, changes: Annotations) -> None:
        """Change what is written on a job; parts that are None stay. Raises StoreError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            folder = self.path.parent
            raise StoreError(
                f"The data folder {folder} cannot be created ({error.strerror or error}).",
                hint="Create it, or set LORA_DATA_DIR to a folder that you may write to.",
            ) from error
        with self._opened() as connection, transaction(connection):
            where = "SELECT content FROM annotations WHERE source = ? AND job_id = ?"
            row = connection.execute(where, (self._source, job_id)).fetchone()
            known = replace(_annotations(row["content"] if row else "{}"), **changes.changes)
            connection.execute(
                "INSERT OR REPLACE INTO annotations (source, job_id, content) VALUES (?, ?, ?)",
                (self._source, job_id, json.dumps(known.changes)),
            )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self.path, "rwc")) as connection:
                if not connection.execute("PRAGMA user_version").fetchone()[0]:
                    self.path.chmod(0o600)
                    use_wal(connection)
                    connection.execute(_TABLE)
                    connection.execute("PRAGMA user_version = 1")
                yield connection
        except sqlite3.Error as error:
            raise explain(error, self.path) from error


def _annotations(content: str) -> Annotations:
    """As they were written; what only other code knows is left out."""
    found: dict[str, Any] = json.loads(content)
    kept = {name: found[name] for name in _PARTS if name in found}
    return Annotations(**(kept | ({"tags": tuple(kept["tags"])} if "tags" in kept else {})))
