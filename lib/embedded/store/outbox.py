"""Messages that are to be sent. A message is written in the transaction of what it tells, and knows no address."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lib.embedded.store import job_queries
from lib.embedded.store.database import Database
from lib.jobs.job import JobLink
from lib.jobs.news import SWEEP, Event, News, sweep_news

DAY_S = 86_400.0
# A message told before is remembered for so long, so that no event is told twice.
KEEP_S = 30 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that this process may send now. ``sent_to`` has the places of the services that took it already.

    Attributes:
        job_id, sweep_id: What it is about; None where it is about neither.
    """

    id: int
    event: Event
    title: str
    body: str
    job_id: str | None
    sweep_id: str | None
    tries: int
    sent_to: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What could not be sent.

    Attributes:
        waiting, given_up: How many messages.
        problem: What went wrong last.
    """

    waiting: int
    given_up: int
    problem: str


def put(connection: sqlite3.Connection, news: Iterable[News], at: float) -> None:
    """Keep messages for sending, within the caller's transaction; what was told before is left out."""
    connection.executemany(
        """
        INSERT OR IGNORE INTO outbox (key, event, title, body, job_id, created_at, next_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        [(each.key, each.event, each.title, each.body, each.job_id, at, at) for each in news],
    )


def within_sweep(connection: sqlite3.Connection, news: Sequence[News], job: sqlite3.Row) -> Sequence[News]:
    """The news of a job's end; in a sweep failures are told as they come, successes once for all its jobs."""
    if not job["sweep_id"]:
        return news
    sweep = JobLink(id=job["sweep_id"], name=job["sweep_name"])
    own = [each for each in news if each.event is not Event.FINISHED]
    return [*own, *sweep_news(sweep, job_queries.jobs_of_sweep(connection, sweep.id))]


class OutboxStore:
    """The worker's and the health check's view of the messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, news: Iterable[News], at: float) -> None:
        """Keep messages about something that is not in the database."""
        with self._database.writing() as connection:
            put(connection, news, at)

    def has_unsent(self) -> bool:
        """Whether a message waits, due or not."""
        with self._database.reading() as connection:
            return connection.execute("SELECT 1 FROM outbox WHERE done_at IS NULL LIMIT 1").fetchone() is not None

    def claim(self, now: float, pauses_s: tuple[float, float]) -> Message | None:
        """The first message that is due. It becomes due again after a pause, should this process not live to say more.

        Args:
            pauses_s: The first pause, which doubles with each try, and the longest.
        """
        first_s, longest_s = pauses_s
        with self._database.writing() as connection:
            rows = connection.execute(
                """
                UPDATE outbox SET tries = tries + 1, next_at = ?1 + min(?3, ?2 * (1 << min(tries, 20)))
                WHERE id = (
                    SELECT id FROM outbox WHERE done_at IS NULL AND next_at <= ?1 ORDER BY next_at, id LIMIT 1
                )
                RETURNING *
                """,
                (now, first_s, longest_s),
            ).fetchall()
        return _message_from(rows[0]) if rows else None

    def note(self, message: Message, sent_to: Collection[int], problem: str, now: float) -> None:
        """Record which services took the message. Without a problem it is done; after a day it is given up."""
        with self._database.writing() as connection:
            connection.execute(
                """
                UPDATE outbox SET sent_to = ?1, problem = ?2,
                    done_at = CASE WHEN ?2 = '' OR ?3 - created_at >= ?4 THEN ?3 END
                WHERE id = ?5
                """,
                (json.dumps(sorted(sent_to)), problem, now, DAY_S, message.id),
            )

    def forget_old(self, now: float) -> None:
        """Drop what was done long ago; a running job's messages stay, because they keep it from being told again."""
        with self._database.writing() as connection:
            connection.execute(
                """
                DELETE FROM outbox WHERE done_at < ?
                    AND ifnull(job_id, '') NOT IN (SELECT id FROM jobs WHERE status = 'running')
                """,
                (now - KEEP_S,),
            )

    def trouble(self, now: float) -> Trouble:
        """What waits after a failed try, and what was given up within a day."""
        with self._database.reading() as connection:
            rows = connection.execute(
                """
                SELECT done_at, problem FROM outbox
                WHERE problem != '' AND (done_at IS NULL OR done_at > ?) ORDER BY next_at DESC
                """,
                (now - DAY_S,),
            ).fetchall()
        given_up = sum(row["done_at"] is not None for row in rows)
        return Trouble(waiting=len(rows) - given_up, given_up=given_up, problem=rows[0]["problem"] if rows else "")


def _message_from(row: sqlite3.Row) -> Message:
    return Message(
        id=row["id"],
        event=Event(row["event"]),
        title=row["title"],
        body=row["body"],
        job_id=row["job_id"],
        sweep_id=row["key"].split("/")[1] if row["key"].startswith(f"{SWEEP}/") else None,
        tries=row["tries"],
        sent_to=tuple(json.loads(row["sent_to"])),
    )
