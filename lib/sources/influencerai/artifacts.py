"""The files of a job: those its payload names and those under its prefix in the store."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from lib.artifacts.object_store import ObjectStore
from lib.artifacts.presigned import key_in_bucket
from lib.errors import ArtifactError
from lib.jobs.artifact_names import describe_file
from lib.jobs.job import Artifact, Job, PresignedUrl
from lib.sources.influencerai.snapshot import DRY_RUN, NO_LINK, artifact_id, job_prefix
from lib.sources.protocol import no_such_file

CONFIGURE_HINT = "Set S3_ENDPOINT, S3_BUCKET, S3_KEY and S3_SECRET, so that links are signed when they are clicked."
AT_THE_CLICK = timedelta(0)


def stored_artifacts(job: Job, files: ObjectStore) -> tuple[Artifact, ...]:
    """All files of a job with their sizes, those the payload names first. Raises ArtifactError if the store is down."""
    stored = {each.key: each for each in files.list(job_prefix(job.id))}
    found: dict[str, Artifact] = {}
    for artifact in job.artifacts:
        key = stored_key(artifact, files.bucket)
        created_at = stored[key].modified_at if key in stored else None
        size = stored[key].size_bytes if key in stored else _size(files, key) if key else artifact.size_bytes
        is_there = key is not None and size is not None
        found[key or artifact.id] = replace(
            artifact,
            key=key,
            size_bytes=size if size is not None else artifact.size_bytes,
            created_at=created_at,
            frozen_link=None if is_there else artifact.frozen_link,
            unavailable="" if is_there else artifact.unavailable,
        )
    for key, each in stored.items():
        facts = describe_file(artifact_id(job.id, key))
        found.setdefault(
            key,
            Artifact(
                id=artifact_id(job.id, key),
                name=key.rsplit("/", 1)[-1],
                kind=facts.kind,
                key=key,
                size_bytes=each.size_bytes,
                created_at=each.modified_at,
                attempt=max(1, job.attempt),
                epoch=facts.epoch,
                step=facts.step,
                prompt_index=facts.prompt_index,
            ),
        )
    return tuple(found.values())


def locate(job: Job, wanted: str, files: ObjectStore | None, now: Callable[[], datetime]) -> PresignedUrl:
    """A link that works now. Raises ArtifactError."""
    artifact = next((each for each in job.artifacts if each.id == wanted), None)
    key = stored_key(artifact, files.bucket) if artifact and files else None
    if files and artifact is None:
        key = _key_below_prefix(job.id, wanted)
    if files and key:
        try:
            files.head(key)
            return files.sign(key, artifact.name if artifact else key.rsplit("/", 1)[-1])
        except ArtifactError:
            link = artifact.frozen_link if artifact else None
            if link is None or link.expires_at is None or not link.is_fresh(now(), margin=AT_THE_CLICK):
                raise
            return link
    if artifact is None:
        raise no_such_file()
    return _frozen(artifact, now(), has_store=files is not None)


def stored_key(artifact: Artifact, bucket: str) -> str | None:
    """The file's key in the store, from the artifact or else from its link."""
    if artifact.key or artifact.frozen_link is None:
        return artifact.key
    return key_in_bucket(artifact.frozen_link.url, bucket)


def _frozen(artifact: Artifact, now: datetime, *, has_store: bool) -> PresignedUrl:
    link = artifact.frozen_link
    if link is None:
        hint = "" if has_store or artifact.unavailable == DRY_RUN else CONFIGURE_HINT
        raise ArtifactError(artifact.unavailable or NO_LINK, hint=hint)
    if not link.is_fresh(now, margin=AT_THE_CLICK):
        raise ArtifactError(
            f"The link to {artifact.name!r} expired at {link.expires_at:%Y-%m-%d %H:%M} UTC, and the API "
            "gives no new one.",
            hint="" if has_store else CONFIGURE_HINT,
        )
    return link


def _key_below_prefix(job_id: str, wanted: str) -> str | None:
    is_plain = wanted and not any(part in ("", ".", "..") for part in wanted.split("/"))
    return f"{job_prefix(job_id)}{wanted}" if is_plain else None


def _size(files: ObjectStore, key: str) -> int | None:
    """The size of a file outside the job's prefix; None if it does not exist."""
    try:
        return files.head(key)
    except ArtifactError:
        return None
