"""A whole filtered list of jobs as a CSV file, for a spreadsheet or a notebook."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lib.jobs.job import Job
from lib.jobs.query import MAX_TAKE, JobPage, JobQuery
from lib.jobs.secret_options import shown_extra
from lib.jobs.training_settings import SETTINGS

# What a spreadsheet would run as a formula when it opens the file.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def jobs_csv(query: JobQuery, list_jobs: Callable[[JobQuery], JobPage], now: datetime) -> str:
    """All jobs that match, not only the page shown: ISO times in UTC, seconds, parameters and the last loss."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for job in all_jobs(query, list_jobs):
        row = csv_row(job, now)
        if writer is None:
            writer = csv.DictWriter(out, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
    return out.getvalue()


def all_jobs(query: JobQuery, list_jobs: Callable[[JobQuery], JobPage]) -> Iterator[Job]:
    """Every job that matches, each once, even when new ones push the pages along meanwhile."""
    seen: set[str] = set()
    skip = 0
    while True:
        page = list_jobs(replace(query, skip=skip, take=MAX_TAKE))
        for job in page.jobs:
            if job.id not in seen:
                seen.add(job.id)
                yield job
        skip += MAX_TAKE
        if skip >= page.total:
            return


def csv_row(job: Job, now: datetime) -> dict[str, str]:
    """Column -> cell, safe to open in a spreadsheet."""
    progress = job.progress
    row: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "status": job.raw_status or job.status.value,
        "progress": progress.fraction,
        "epoch": progress.epoch,
        "total_epochs": progress.total_epochs,
        "step": progress.step,
        "total_steps": progress.total_steps,
        "final_loss": progress.loss,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "duration_s": job.duration_s(now),
        "attempt": job.attempt,
        "dataset_id": job.dataset_id,
        "dataset": job.dataset_name,
        "config_id": job.config_id,
        "configuration": job.config_name,
        "failure": job.failure.message if job.failure else None,
        **{name: job.settings.get(name) for name in SETTINGS},
    }
    row["trainer"] = row["trainer"] or job.trainer
    if isinstance(row["extra"], Mapping):
        row["extra"] = shown_extra(row["extra"])
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        case bool() | int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case str():
            text = value.replace("\0", "")
            return f"'{text}" if text.lstrip(" ").startswith(_FORMULA_STARTS) else text
        case _:
            return json.dumps(value, ensure_ascii=False, default=str) if value else ""
