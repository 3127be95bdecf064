"""Converts database rows and JSON to the records of ``lib.jobs`` and back."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from lib.jobs.job import (
    Artifact,
    ArtifactKind,
    Attempt,
    Failure,
    Job,
    JobLink,
    JobStatus,
    Origin,
    Progress,
    RunPlace,
)
from lib.jobs.machine import GpuUse, MachineUse
from lib.jobs.more_data import more_data_from
from lib.jobs.resume import Start
from lib.jobs.training_settings import TrainingConfig, TrainingSettings, settings_from_payload, settings_payload


def to_time(seconds: float | None) -> datetime | None:
    """Unix seconds to aware UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def to_json(value: object) -> str:
    """JSON as the database keeps it; NaN stays NaN."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def settings_json(settings: TrainingSettings) -> str:
    """Training settings as JSON."""
    return to_json(settings_payload(settings))


def settings_from(text: str) -> TrainingSettings:
    """Training settings from JSON; unknown keys are ignored."""
    return settings_from_payload(json.loads(text))


def progress_json(progress: Progress) -> str:
    """Progress as JSON, without unknown values."""
    values = ((each.name, getattr(progress, each.name)) for each in fields(progress))
    return to_json({name: value for name, value in values if value is not None and value != ()})


def progress_from(text: str | None) -> Progress:
    """Progress from JSON."""
    values = _known(Progress, text)
    return Progress(**{**values, "pauses": tuple(map(tuple, values.get("pauses", ())))})


def failure_json(failure: Failure | None) -> str | None:
    """A failure as JSON; None without one."""
    return None if failure is None else to_json(asdict(failure))


def failure_from(text: str | None) -> Failure | None:
    """A failure from JSON."""
    if not text:
        return None
    values = _known(Failure, text)
    return Failure(**{**values, "evidence": tuple(values.get("evidence", ()))})


def start_json(start: Start | None) -> str | None:
    """What an attempt goes on from, as JSON; None for one from the beginning."""
    return None if start is None else to_json(asdict(start))


def start_from(text: str | None) -> Start | None:
    """What an attempt goes on from, from JSON."""
    return Start(**_known(Start, text)) if text else None


def place_json(place: RunPlace) -> str:
    """Where a run keeps its files, as JSON."""
    return to_json(asdict(place))


def place_from(text: str | None) -> RunPlace | None:
    """Where a run keeps its files, from JSON; None for a job of the dashboard."""
    if not text:
        return None
    values = _known(RunPlace, text)
    return RunPlace(**{**values, "roots": tuple(values.get("roots", ()))})


def origin_from(word: str) -> Origin:
    """Where a job was started; a word that only newer code knows is somewhere else."""
    return Origin(word) if word in _ORIGINS else Origin.WATCHED


def tags_text(tags: Sequence[str]) -> str:
    """Tags as the database keeps them: a line break before and after each, to be found by."""
    return "".join(f"\n{tag}" for tag in tags) + "\n" if tags else ""


def tags_from(text: str) -> tuple[str, ...]:
    """Tags as ``tags_text`` wrote them."""
    return tuple(text.split("\n")[1:-1])


def job_from(row: sqlite3.Row) -> Job:
    """A job from its row joined with its latest attempt, as lists show it."""
    return Job(
        id=row["id"],
        name=row["name"],
        status=JobStatus.parse(row["status"]),
        raw_status=row["status"],
        origin=origin_from(row["origin"]),
        place=place_from(row["place"]),
        executor=row["executor"],
        cancelling=bool(row["cancel_requested"]) and row["status"] == JobStatus.RUNNING,
        attempt=row["attempt"] + _was_cancelled_in_queue(row),
        created_at=to_time(row["created_at"]),
        started_at=to_time(row["started_at"]),
        updated_at=to_time(row["updated_at"]),
        finished_at=to_time(row["finished_at"]),
        dataset_id=row["dataset_id"],
        dataset_name=row["dataset_name"],
        more_data=more_data_from(row["more_data"]),
        config_id=row["config_id"],
        config_name=row["config_name"],
        settings=json.loads(row["settings"]),
        trainer=row["trainer"],
        size_bytes=row["size_bytes"],
        start=start_from(row["start"]),
        time_limit_s=row["time_limit_s"],
        retry_of=JobLink(id=row["retry_of"]) if row["retry_of"] else None,
        sweep=JobLink(id=row["sweep_id"], name=row["sweep_name"]) if row["sweep_id"] else None,
        duration_note=FIRST_SIGN if row["origin"] == Origin.WATCHED else "",
        note=row["note"],
        tags=tags_from(row["tags"]),
        is_starred=bool(row["is_starred"]),
        best=row["best"],
        submitted_by=row["submitted_by"],
        cancelled_by=row["cancelled_by"],
        retried_by=row["retried_by"],
        **_latest_attempt(row),
    )


def _was_cancelled_in_queue(row: sqlite3.Row) -> bool:
    """Whether a retry was cancelled in the queue: it counts as an attempt without a row of its own."""
    return row["attempt"] > 0 and row["started_at"] is None and row["status"] != JobStatus.PENDING


def _latest_attempt(row: sqlite3.Row) -> dict[str, Any]:
    """Fields of the latest attempt; empty while the job is queued, or was cancelled in the queue."""
    if row["started_at"] is None:
        return {}
    progress = progress_from(row["progress"])
    return {
        # A job that is being stopped has no time left to estimate.
        "progress": replace(progress, eta_s=None) if row["cancel_requested"] else progress,
        "failure": failure_from(row["failure"]),
        "alarms": _words_from(row["alarms"]),
        "last_output_at": to_time(row["last_output_at"]),
        "node": row["node"] or "",
    }


def machine_from(text: str | None) -> MachineUse | None:
    """What the machine did, from JSON."""
    if not text:
        return None
    values = json.loads(text)
    return MachineUse(**{**values, "gpus": tuple(GpuUse(**gpu) for gpu in values["gpus"])})


def attempt_from(row: sqlite3.Row) -> Attempt:
    """An attempt from its row."""
    return Attempt(
        number=row["number"],
        status=JobStatus.parse(row["status"]),
        started_at=to_time(row["started_at"]),
        finished_at=to_time(row["finished_at"]),
        exit_code=row["exit_code"],
        progress=progress_from(row["progress"]),
        failure=failure_from(row["failure"]),
        alarms=_words_from(row["alarms"]),
        machine=machine_from(row["machine"]),
        gpus=_words_from(row["gpus"]),
        start=start_from(row["start"]),
        node=row["node"],
    )


FIRST_SIGN = "At least so long: counted from the oldest file of the run."
_ORIGINS = frozenset(origin.value for origin in Origin)
_KINDS = frozenset(kind.value for kind in ArtifactKind)  # a newer version may know more


# A column of artifacts for ``artifact_from``.
HOLDS_NAN = "(job_id, attempt, path) IN (SELECT job_id, attempt, path FROM nan_files) AS holds_nan"


def artifact_from(row: sqlite3.Row) -> Artifact:
    """An artifact from its row; its id is ``attempt/path``."""
    kind = ArtifactKind(row["kind"]) if row["kind"] in _KINDS else ArtifactKind.OTHER
    return Artifact(
        id=f"{row['attempt']}/{row['path']}",
        name=_file_name(row["path"], kind),
        kind=kind,
        key=row["key"] or f"jobs/{row['job_id']}/{row['attempt']}/output/{row['path']}",
        size_bytes=row["size_bytes"],
        created_at=to_time(row["created_at"]),
        attempt=row["attempt"],
        epoch=row["epoch"],
        step=row["step"],
        prompt_index=row["prompt_index"],
        prompt=row["prompt"],
        holds_nan=bool(row["holds_nan"]),
    )


def _file_name(path: str, kind: ArtifactKind) -> str:
    """With its folders, for each state has an ``optimizer.bin``; a sample's folder says nothing."""
    return path.rpartition("/")[2] if kind is ArtifactKind.SAMPLE else path


def config_from(row: sqlite3.Row) -> TrainingConfig:
    """A configuration from its row."""
    return TrainingConfig(
        id=row["id"],
        name=row["name"],
        settings=settings_from(row["settings"]),
        description=row["description"],
        is_default=bool(row["is_default"]),
        created_at=to_time(row["created_at"]),
        updated_at=to_time(row["updated_at"]),
    )


def _words_from(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text and text != "[]" else ()


def _known(record: type, text: str | None) -> dict[str, Any]:
    values: Mapping[str, Any] = json.loads(text or "{}")
    known = _names(record)
    return dict(values) if values.keys() <= known else {key: values[key] for key in values.keys() & known}


@cache
def _names(record: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(record))
