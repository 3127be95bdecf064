"""One row of GET /jobs as a snapshot. Tolerates anything but a missing id."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from lib.artifacts.presigned import frozen_link
from lib.errors import BadPayload
from lib.jobs.artifact_names import describe_file
from lib.jobs.job import Artifact, ArtifactKind, JobStatus, Stage
from lib.jobs.setting_kinds import Number
from lib.jobs.training_settings import SETTINGS

JOB_TYPE = "lora-training"
TRAINER = "sd-scripts"  # what the deployment's worker runs, whatever a job or a configuration says
SUBMISSION_KEY = "clientSubmissionId"
RETRY_KEY = "retryOf"
STAGES = {
    "initializing": "initializing",
    "fetching-dataset": "fetching dataset",
    "running": Stage.TRAINING.value,
    "uploading": Stage.UPLOADING.value,
    "completed": Stage.FINISHED.value,
}
FIRST_STAGES = frozenset({"initializing", "fetching dataset"})
# Settings that the API has no field for travel in a configuration's ``meta`` under this name.
META_NAME = "dashboard"
# Our name -> the API's, of the settings that it has a field for.
API_FIELDS = {
    "base_model": "modelName",
    "epochs": "epochs",
    "learning_rate": "learningRate",
    "batch_size": "batchSize",
    "resolution": "resolution",
    "network_dim": "networkDim",
    "network_alpha": "networkAlpha",
}
META_FIELDS = {
    name: re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
    for name in SETTINGS
    if name not in (*API_FIELDS, "trainer")
}
OUR_NAMES = {theirs: ours for ours, theirs in API_FIELDS.items()}
# Implausible years, and years that cannot be converted to every time zone.
FIRST_YEAR, LAST_YEAR = 1970, 9000
LONGEST_KEPT_TEXT, DEEPEST_KEPT = 2_000, 50
DRY_RUN = "This was a dry run: nothing was trained, and the file was never written."
NO_LINK = "The API gives no link to this file that could be opened."


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one read of a job says. None or empty: unknown.

    Attributes:
        tenant_id: Whose job it is.
        updated_at: When the API last wrote the row; orders snapshots however they arrived.
        logs: The last lines of the log: at most 20 while running, at most 200 at the end.
        message, stack: Why it failed, as the worker put it.
    """

    id: str
    name: str
    type: str
    status: JobStatus
    raw_status: str
    tenant_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None
    dataset_id: str | None = None
    dataset_name: str | None = None
    config_id: str | None = None
    config_name: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    fraction: float | None = None
    step: int | None = None
    total_steps: int | None = None
    stage: str | None = None
    logs: tuple[str, ...] = ()
    message: str = ""
    stack: str = ""
    command: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    submission_id: str | None = None
    retry_of: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)

    def without_bulk(self) -> "Snapshot":
        """The snapshot without its large parts, to be kept for many jobs: a row can be a megabyte."""
        return replace(self, payload={}, logs=(), stack="")


def read_snapshot(row: object) -> Snapshot:
    """Parse a job's row. Raises BadPayload if it is not an object or has no id."""
    if not isinstance(row, Mapping) or not (job_id := _word(row.get("id"))):
        raise BadPayload("The InfluencerAI API sent a job without an id.")
    asked, result = _mapping(row.get("payload")), _mapping(row.get("result"))
    config, progress = _mapping(asked.get("config")), _mapping(result.get("progress"))
    raw_status = str(row.get("status") or "")
    dataset_path = _word(asked.get("datasetPath"))
    return Snapshot(
        id=job_id,
        name=_first_word(asked.get("trainingName"), asked.get("name"), row.get("name")) or job_id,
        type=_word(row.get("type")) or JOB_TYPE,
        status=JobStatus.parse(raw_status),
        raw_status=raw_status,
        tenant_id=_word(row.get("tenantId")),
        created_at=parse_time(row.get("createdAt")),
        started_at=parse_time(row.get("startedAt")),
        updated_at=parse_time(row.get("updatedAt")),
        finished_at=parse_time(row.get("finishedAt")),
        dataset_id=_first_word(asked.get("datasetId"), _mapping(asked.get("dataset")).get("id")),
        dataset_name=PurePosixPath(dataset_path).name or None if dataset_path else None,
        config_id=_first_word(asked.get("configId"), asked.get("loraConfigId"), config.get("id")),
        config_name=_word(config.get("name")),
        settings=read_settings(config),
        fraction=_fraction(progress.get("percent")),
        step=_count(progress.get("step")),
        total_steps=_count(progress.get("totalSteps")) or None,
        stage=_stage(progress.get("stage")),
        logs=_lines(progress.get("logs")),
        message=_failure_message(row.get("result"), progress),
        stack=_stack(row.get("result")),
        command=_command(result.get("command")),
        artifacts=read_artifacts(job_id, result.get("artifacts"), is_dry_run=bool(result.get("dryRun"))),
        submission_id=_word(asked.get(SUBMISSION_KEY)),
        retry_of=_word(asked.get(RETRY_KEY)),
        payload=row,
    )


def read_snapshots(rows: Iterable[object]) -> tuple[list[Snapshot], int]:
    """The rows that can be parsed, and how many cannot."""
    snapshots, skipped = [], 0
    for row in rows:
        try:
            snapshots.append(read_snapshot(row))
        except BadPayload:
            skipped += 1
    return snapshots, skipped


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """An inline configuration under our names; a key that we have no name for keeps its own, in snake_case."""
    theirs: dict[str, Any] = {}
    for name, value in config.items():
        if name in ("id", "name") or value is None:
            continue
        if ours := OUR_NAMES.get(str(name)):
            fitting = setting_value(ours, value)
            theirs[ours] = value if fitting is None else fitting
        else:
            theirs[re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", str(name)).lower()] = value
    meta = _mapping(config.get("meta"))
    if META_NAME in meta:
        theirs["meta"] = {name: value for name, value in meta.items() if name != META_NAME}
    found = {**theirs, **our_settings(config)}
    return {**found, "trainer": TRAINER} if found else {}


def setting_value(name: str, found: object) -> Any:
    """The API's value of one of our settings, in our type but maybe out of range; None if it cannot be one."""
    return SETTINGS[name].read(_number(found) if isinstance(SETTINGS[name], Number) else _word(found))


def shortened(found: Any, levels: int = DEEPEST_KEPT) -> Any:
    """A payload as kept for display: long strings and deeply nested branches are cut."""
    if isinstance(found, str):
        return found if len(found) <= LONGEST_KEPT_TEXT else f"{found[:LONGEST_KEPT_TEXT]}…"
    if not isinstance(found, Mapping | list):
        return found
    if levels == 0:
        return "…"
    if isinstance(found, list):
        return [shortened(each, levels - 1) for each in found]
    return {name: shortened(each, levels - 1) for name, each in found.items()}


def our_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the dashboard stored in a configuration's ``meta``; values of the wrong kind are left out."""
    kept = _mapping(_mapping(config.get("meta")).get(META_NAME))
    found = {ours: SETTINGS[ours].read(kept[theirs]) for ours, theirs in META_FIELDS.items() if theirs in kept}
    return {name: value for name, value in found.items() if value is not None}


def job_prefix(job_id: str) -> str:
    """The store prefix for all files of a job."""
    return f"{JOB_TYPE}/{job_id}/"


def read_artifacts(job_id: str, found: object, *, is_dry_run: bool = False) -> tuple[Artifact, ...]:
    """Artifacts in any of their three shapes, each file once. A dry run names files that it never wrote."""
    artifacts: dict[str, Artifact] = {}
    for each in found if isinstance(found, list) else ():
        artifact = _artifact(job_id, _mapping(each), DRY_RUN if is_dry_run else "")
        if artifact is not None:
            artifacts.setdefault(artifact.id, artifact)
    return tuple(artifacts.values())


def artifact_id(job_id: str, key: str) -> str:
    """The name of a stored file within its job."""
    return key.removeprefix(job_prefix(job_id)) or key


def parse_time(text: object) -> datetime | None:
    """An ISO 8601 time as aware UTC; None for anything else, and for years outside the plausible range."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return _plausible(at)


def _artifact(job_id: str, found: Mapping[str, Any], unavailable: str) -> Artifact | None:
    more = _mapping(found.get("metadata"))
    key, url = _word(found.get("key")), _word(found.get("url"))
    filename = _first_word(found.get("filename"), found.get("name"), more.get("filename"))
    filename = filename or _last_part(key) or _last_part(_path(url)) or _last_part(_word(found.get("path")))
    if not filename:
        return None
    facts, link = describe_file(key or filename), frozen_link(url, parse_time(found.get("expiresAt")))
    return Artifact(
        id=artifact_id(job_id, key) if key else filename,
        name=_last_part(filename) or filename,
        kind=ArtifactKind.LORA if found.get("type") == "lora" and facts.kind is ArtifactKind.OTHER else facts.kind,
        key=key,
        size_bytes=_first_count(found.get("size"), found.get("sizeBytes"), more.get("size")),
        epoch=facts.epoch,
        step=facts.step,
        prompt_index=facts.prompt_index,
        frozen_link=replace(link, expires_at=_plausible(link.expires_at)) if link else None,
        unavailable=unavailable or ("" if key or link else NO_LINK),
    )


def _plausible(at: datetime | None) -> datetime | None:
    return at if at and FIRST_YEAR <= at.year <= LAST_YEAR else None


def _failure_message(found: object, progress: Mapping[str, Any]) -> str:
    """What the result says, which may be a bare text; its first line, as the rest is the stack."""
    result, text = _mapping(found), found if isinstance(found, str) else None
    error = result.get("error")
    said = _first_word(text, result.get("message"), error, _mapping(error).get("message"))
    said = said or (_word(progress.get("message")) or "" if progress.get("stage") == "failed" else "")
    return said.split("\n", 1)[0].strip()[:LONGEST_KEPT_TEXT]


def _stack(found: object) -> str:
    if isinstance(found, str):
        return found if "\n" in found.strip() else ""
    stack = _mapping(found).get("stack")
    return stack if isinstance(stack, str) else ""


def _command(found: object) -> tuple[str, ...]:
    parts = _mapping(found)
    program, arguments = _word(parts.get("command")), parts.get("args")
    return (program, *map(str, arguments if isinstance(arguments, list) else ())) if program else ()


def _lines(found: object) -> tuple[str, ...]:
    lines = found if isinstance(found, list) else [found] if isinstance(found, str) and found else []
    return tuple(str(line).rstrip("\n") for line in lines if line is not None)


def _stage(found: object) -> str | None:
    word = _word(found)
    return STAGES.get(word, word[:60]) if word else None


def _fraction(percent: object) -> float | None:
    number = _number(percent.strip().removesuffix("%") if isinstance(percent, str) else percent)
    return min(max(number / 100, 0.0), 1.0) if number is not None else None


def _count(found: object) -> int | None:
    number = _number(found)
    return int(number) if number is not None and number >= 0 else None


def _first_count(*found: object) -> int | None:
    return next((count for each in found if (count := _count(each)) is not None), None)


def _number(found: object) -> float | None:
    if isinstance(found, str):
        try:
            found = float(found)
        except ValueError:
            return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _word(found: object) -> str | None:
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found.strip() or None if isinstance(found, str) else None


def _first_word(*found: object) -> str | None:
    return next((word for each in found if (word := _word(each))), None)


def _last_part(path: str | None) -> str | None:
    return PurePosixPath(path.replace("\\", "/")).name or None if path else None


def _path(url: str | None) -> str | None:
    try:
        return unquote(urlsplit(url).path) if url else None
    except ValueError:
        return None
