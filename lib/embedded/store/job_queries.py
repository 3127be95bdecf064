"""Lists, counts and outcomes: the queries that must stay fast with 100,000 jobs."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from lib.embedded.store.rows import HOLDS_NAN, artifact_from, job_from, tags_text
from lib.jobs.highlights import Highlights
from lib.jobs.job import Artifact, ArtifactKind, Job, JobLink, JobStatus
from lib.jobs.query import JobPage, JobQuery, SortBy, search_key

_JOB_ROW = """
    SELECT jobs.*, a.progress, {failure} AS failure, a.alarms, a.last_output_at, a.node
    FROM jobs LEFT JOIN attempts AS a ON a.job_id = jobs.id AND a.number = jobs.attempt
"""
JOB_COLUMNS = _JOB_ROW.format(failure="a.failure")
# A traceback may have many kilobytes, and no list shows it.
_LISTED_COLUMNS = _JOB_ROW.format(failure="json_remove(a.failure, '$.traceback')")
_SORT_COLUMNS = {
    SortBy.CREATED_AT: ("created_at", "id"),
    SortBy.NAME: ("name_key", "created_at", "id"),
    SortBy.STATUS: ("status", "created_at", "id"),
    SortBy.PROGRESS: ("fraction", "created_at", "id"),
    SortBy.LOSS: ("loss", "created_at", "id"),
    SortBy.DURATION: ("nullif(duration_s, -1)", "created_at", "id"),
    SortBy.FINISHED_AT: ("finished_at", "created_at", "id"),
}
_SORT_INDEX = {
    SortBy.CREATED_AT: "jobs_created",
    SortBy.NAME: "jobs_name",
    SortBy.STATUS: "jobs_status",
    SortBy.PROGRESS: "jobs_fraction",
    SortBy.LOSS: "jobs_loss",
    SortBy.DURATION: "jobs_lasted",
    SortBy.FINISHED_AT: "jobs_finished",
}
# Sorting this many rows is faster than finding them in a sorted index.
FEW = 2_000
_NO_LIMIT = -1


def list_jobs(connection: sqlite3.Connection, query: JobQuery) -> JobPage:
    """One page of the matching jobs; SQLite filters, sorts and pages.

    Unknown values come last in both directions; ties are ordered by creation and id.
    """
    where, values = _conditions(query)
    if query.search.strip():
        ids = _found_ids(connection, query, where, values)
        # Most searches find less than a page, which needs no separate count.
        is_all = query.skip == 0 and len(ids) < query.take
        total = len(ids) if is_all else _count(connection, "INDEXED BY jobs_search", where, values)
    else:
        index = "INDEXED BY jobs_swept" if query.sweep else "INDEXED BY jobs_tagged" if query.tag else ""
        total = _count(connection, index, where, values) if where else sum(count_by_status(connection).values())
        ids = _page_ids(connection, query, _best_index(query, total), where, values) if query.skip < total else []
    return JobPage(jobs=read_jobs(connection, ids), total=total)


def all_ids(connection: sqlite3.Connection, query: JobQuery) -> list[str]:
    """The ids of all jobs that match, whatever page the query asks for, in its order."""
    where, values = _conditions(query)
    query = replace(query, skip=0, take=_NO_LIMIT)
    if query.search.strip():
        return _found_ids(connection, query, where, values)
    index = "jobs_swept" if query.sweep else "jobs_tagged" if query.tag else _SORT_INDEX[query.sort_by]
    return _page_ids(connection, query, index, where, values)


def _best_index(query: JobQuery, total: int) -> str:
    """The index to use. SQLite's planner knows neither how many rows match nor that one page is enough."""
    if query.sweep:
        return "jobs_swept"
    if query.tag:
        return "jobs_tagged"  # few jobs have tags
    if query.finished_from or query.finished_until:
        narrow = "jobs_finished"
    else:
        narrow = "jobs_status" if query.statuses else "jobs_created"
    is_sorted_by_status = len(query.statuses) == 1 and query.sort_by in (SortBy.CREATED_AT, SortBy.STATUS)
    if narrow == "jobs_status" and is_sorted_by_status:
        return narrow
    return narrow if query.is_filtered and total <= FEW else _SORT_INDEX[query.sort_by]


def _found_ids(connection: sqlite3.Connection, query: JobQuery, where: str, values: Sequence[object]) -> list[str]:
    """The ids on a page of a search. ``jobs_search`` holds what is searched and most of what can be sorted by."""
    if query.sort_by not in (SortBy.PROGRESS, SortBy.LOSS):
        return _page_ids(connection, query, "jobs_search", where, values)
    found = f"WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_search {where})"
    return _page_ids(connection, query, _SORT_INDEX[query.sort_by], found, values)


def _page_ids(
    connection: sqlite3.Connection, query: JobQuery, index: str, where: str, values: Sequence[object]
) -> list[str]:
    columns = _SORT_COLUMNS[query.sort_by]
    if index == "jobs_search" and query.sort_by is SortBy.NAME:
        columns = ("search_text",)  # it begins with the name and the id, and the index has it
    order = ", ".join(f"{column} {'DESC' if query.descending else 'ASC'} NULLS LAST" for column in columns)
    rows = connection.execute(
        f"SELECT id FROM jobs INDEXED BY {index} {where} ORDER BY {order} LIMIT ? OFFSET ?",
        (*values, query.take, query.skip),
    )
    return [row["id"] for row in rows]


def read_jobs(connection: sqlite3.Connection, ids: Sequence[str]) -> tuple[Job, ...]:
    """The jobs with these ids as lists show them, in this order; one that was deleted is missing."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(f"{_LISTED_COLUMNS} WHERE jobs.id IN ({marks})", ids)
    jobs = {row["id"]: job_from(row) for row in rows}
    return tuple(jobs[job_id] for job_id in ids if job_id in jobs)


def jobs_of_sweep(connection: sqlite3.Connection, sweep_id: str) -> tuple[Job, ...]:
    """All jobs of a sweep, in the order they were made."""
    chosen = "SELECT id FROM jobs INDEXED BY jobs_swept WHERE sweep_id = ? ORDER BY seq"
    return read_jobs(connection, [row["id"] for row in connection.execute(chosen, (sweep_id,))])


def sweep_of(connection: sqlite3.Connection, submission_ids: Sequence[str]) -> tuple[Job, ...]:
    """All jobs of the sweep with a job of one of these submissions, in the order they were made."""
    marks = ", ".join("?" * len(submission_ids))
    rows = connection.execute(
        "SELECT id FROM jobs INDEXED BY jobs_swept WHERE sweep_id IN "
        f"(SELECT sweep_id FROM jobs WHERE submission_id IN ({marks})) ORDER BY seq",
        submission_ids,
    )
    return read_jobs(connection, [row["id"] for row in rows])


def queued_jobs(connection: sqlite3.Connection, take: int) -> tuple[Job, ...]:
    """The first pending jobs in the order of the queue, with their places."""
    rows = connection.execute("SELECT id FROM jobs WHERE status = 'pending' ORDER BY queue_rank LIMIT ?", (take,))
    jobs = read_jobs(connection, [row["id"] for row in rows])
    return tuple(replace(job, queue_position=place) for place, job in enumerate(jobs, 1))


def highlights(connection: sqlite3.Connection, ids: Sequence[str]) -> Mapping[str, Highlights]:
    """Newest sample and LoRA per job, in the order of ``lib.jobs.highlights``; SQLite reads few of many samples."""
    rows = connection.execute(
        f"""
        SELECT *, {HOLDS_NAN} FROM (
            SELECT *, row_number() OVER (
                PARTITION BY job_id, kind = 'sample'
                ORDER BY attempt || '/' || path = (SELECT best FROM jobs WHERE id = job_id) DESC,
                    kind = 'lora' DESC, attempt DESC, kind <> 'sample' AND epoch IS NULL AND step IS NULL DESC,
                    epoch DESC, step DESC, prompt_index, path
            ) AS place
            FROM artifacts
            WHERE job_id IN ({", ".join("?" * len(ids))}) AND kind IN ('sample', 'lora', 'checkpoint')
                AND path NOT LIKE '%.mp4'
        ) WHERE place = 1
        """,
        ids,
    )
    found: dict[str, dict[str, Artifact]] = {}
    for row in rows:
        which = "sample" if row["kind"] == ArtifactKind.SAMPLE else "lora"
        found.setdefault(row["job_id"], {})[which] = artifact_from(row)
    return {job_id: Highlights(**files) for job_id, files in found.items()}


def retries(
    connection: sqlite3.Connection, job_id: str, retry_of: str | None
) -> tuple[JobLink | None, tuple[JobLink, ...]]:
    """The job that this one retries, and those that retry this one, oldest first."""
    former = connection.execute("SELECT name FROM jobs WHERE id = ?", (retry_of,)).fetchone()
    later = connection.execute("SELECT id, name FROM jobs WHERE retry_of = ? ORDER BY seq", (job_id,))
    origin = JobLink(id=retry_of, name=former["name"] if former else "") if retry_of else None
    return origin, tuple(JobLink(id=row["id"], name=row["name"]) for row in later)


def _count(connection: sqlite3.Connection, index: str, where: str, values: Sequence[object]) -> int:
    return int(connection.execute(f"SELECT count(*) FROM jobs {index} {where}", values).fetchone()[0])


def _conditions(query: JobQuery) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []
    if query.statuses:
        # Unknown is every word that is not a status; ``count_by_status`` counts it the same way.
        others = sorted(set(JobStatus) - query.statuses)
        is_unknown = JobStatus.UNKNOWN in query.statuses
        words = others if is_unknown else sorted(query.statuses)
        parts.append(f"status {'NOT IN' if is_unknown else 'IN'} ({', '.join('?' * len(words))})")
        values += words
    if query.executor:
        parts.append("executor = ?")
        values.append(query.executor)
    if query.sweep:
        parts.append("sweep_id = ?")
        values.append(query.sweep)
    if query.tag:
        parts += ["tags <> ''", "instr(tags, ?)"]
        values.append(tags_text([search_key(query.tag)]))
    spans = (
        ("created_at >= ?", query.created_from),
        ("created_at < ?", query.created_until),
        ("finished_at >= ?", query.finished_from),
        ("finished_at < ?", query.finished_until),
    )
    for condition, at in spans:
        if at is not None:
            parts.append(condition)
            values.append(at.timestamp())
    if needle := search_key(query.search):
        parts.append("instr(search_text, ?)")
        values.append(needle)
    return ("WHERE " + " AND ".join(parts) if parts else ""), values


def count_by_status(connection: sqlite3.Connection) -> Mapping[JobStatus, int]:
    """How many jobs have each status; triggers maintain the counts."""
    rows = connection.execute("SELECT status, jobs FROM status_counts WHERE jobs > 0")
    counts: Counter[JobStatus] = Counter()
    for row in rows:
        counts[JobStatus.parse(row["status"])] += row["jobs"]
    return counts


def outcome_counts(
    connection: sqlite3.Connection, start: datetime, width_s: float, count: int
) -> Mapping[int, tuple[int, int]]:
    """Bucket number -> (succeeded, failed or lost) of the jobs that ended in it; empty buckets are missing."""
    first = start.timestamp()
    rows = connection.execute(
        """
        SELECT CAST((finished_at - ?) / ? AS INTEGER) AS bucket,
               sum(status = 'succeeded') AS succeeded, sum(status IN ('failed', 'lost')) AS failed
        FROM jobs WHERE finished_at >= ? AND finished_at < ? GROUP BY bucket
        """,
        (first, width_s, first, first + width_s * count),
    )
    return {row["bucket"]: (row["succeeded"], row["failed"]) for row in rows}
