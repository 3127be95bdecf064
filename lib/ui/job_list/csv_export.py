"""A filtered list of jobs as a CSV file."""

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from lib.jobs.job import Job
from lib.jobs.secret_options import shown_extra
from lib.jobs.training_settings import SETTINGS

# A spreadsheet takes a cell that starts with one of these for a formula, also after spaces and in full width.
_FORMULA_STARTS = ("=", "+", "-", "@")
_UNSEEN_STARTS = "\ufeff\u200b\u200c\u200d\u2060"


def jobs_csv(jobs: Iterable[Job], now: datetime) -> str:
    """One row per job: ISO times in UTC, seconds, parameters and the last loss."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for number, job in enumerate(jobs):
        row = csv_row(job, now)
        if number == 0:
            writer.writerow(row)
        writer.writerow(row.values())
    return out.getvalue()


def csv_row(job: Job, now: datetime) -> dict[str, str]:
    """Column -> cell, safe to open in a spreadsheet."""
    progress = job.progress
    row: dict[str, Any] = {
        "id": job.id,
        "name": job.name,
        "status": "cancelling" if job.cancelling else job.raw_status or job.status.value,
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
        "further_datasets": "; ".join(each.text for each in job.more_data),
        "config_id": job.config_id,
        "configuration": job.config_name,
        "failure": job.failure.message if job.failure else None,
        "starred": "yes" if job.is_starred else None,
        "best_file": job.best,
        "tags": ", ".join(job.tags),
        "sweep": job.sweep.name if job.sweep else "",
        "note": job.note,
        "submitted_by": job.submitted_by,
        "retried_by": job.retried_by,
        "cancelled_by": job.cancelled_by,
        **{name: job.settings.get(name) for name in SETTINGS},
    }
    row["trainer"] = row["trainer"] or job.trainer
    if isinstance(row["extra"], Mapping):
        row["extra"] = shown_extra(row["extra"])
    return {name: "" if value is None else _cell(value) for name, value in row.items()}


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula. A line break or tab at its start may begin a new cell."""
    seen = text.lstrip().lstrip(_UNSEEN_STARTS).lstrip()
    first = unicodedata.normalize("NFKC", seen[:1])
    return text[:1] in ("\t", "\n") or first.startswith(_FORMULA_STARTS)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        # A lone carriage return would end the row, without quotes around it.
        text = value.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
        return f"'{text}" if _is_formula(text) else text
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return json.dumps(value, ensure_ascii=False, default=str) if value else ""
