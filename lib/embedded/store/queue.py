"""Places in the queue, and how an ended job gets one again. Everything happens within the caller's transaction."""

import sqlite3

from lib.embedded.store.rows import start_json
from lib.jobs.cluster import NEEDED
from lib.jobs.resume import Start

# Behind every pending job; the second part keeps ranks growing while the queue is empty.
LAST_RANK = """(
    SELECT max(ifnull(max(queue_rank), 0), (SELECT ifnull(max(seq), 0) FROM jobs)) + 1
    FROM jobs WHERE status = 'pending'
)"""
# What jobs need is the same where this is; texts that SQLite cannot read are each a kind of their own.
KIND = (
    "CASE WHEN json_valid(settings) THEN json_extract(settings, "
    + ", ".join(f"'$.{name}'" for name in ("trainer", *NEEDED))
    + ") ELSE settings END"
)
_FIRST_RANK = "(SELECT ifnull(min(queue_rank), 1) - 1 FROM jobs WHERE status = 'pending')"


def queue_again(
    connection: sqlite3.Connection, job_id: str, start: Start | None, at: float, *, is_next: bool, by: str | None
) -> None:
    """Put an ended job at the end of the queue, or before all others. It goes on from ``start``, or from step 0."""
    connection.execute(
        f"""
        UPDATE jobs SET status = 'pending', started_at = NULL, finished_at = NULL, duration_s = -1,
            cancel_requested = 0, updated_at = ?, cancelled_by = NULL, retried_by = ?, start = ?,
            queue_rank = {_FIRST_RANK if is_next else LAST_RANK}
        WHERE id = ?
        """,
        (at, by, None if start is None or start.is_anew else start_json(start), job_id),
    )
