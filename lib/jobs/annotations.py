"""What people write on a job: another name, a note, tags, a star, and which of its files is the best."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from lib.errors import InvalidRequest
from lib.jobs.job import Artifact, ArtifactKind, Job
from lib.jobs.query import search_key
from lib.jobs.readable import character_problem
from lib.jobs.training_settings import job_name_problem

MAX_NOTE_LENGTH = 4_000
MAX_TAGS, MAX_TAG_LENGTH = 20, 40
PICKED_KINDS = frozenset({ArtifactKind.LORA, ArtifactKind.CHECKPOINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Changes to what people wrote on a job; None leaves a part as it is, so that two people do not undo each other.

    Attributes:
        best: The id of the picked file; empty for none.
    """

    name: str | None = None
    note: str | None = None
    tags: tuple[str, ...] | None = None
    is_starred: bool | None = None
    best: str | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The parts that change."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def annotated(job: Job, annotations: Annotations | None) -> Job:
    """The job with what people wrote on it."""
    return replace(job, **annotations.changes) if annotations else job


def tags_from(text: str) -> tuple[str, ...]:
    """Tags as they are typed, between commas."""
    return _tidy(text.split(","))


def checked(annotations: Annotations, job: Job) -> Annotations:
    """The annotations as they are kept: tags in lower case, each once. Raises InvalidRequest with field messages."""
    tags = annotations.tags
    found = replace(
        annotations,
        name=None if annotations.name is None else annotations.name.strip(),
        note=None if annotations.note is None else annotations.note.strip(),
        tags=None if tags is None else _tidy(tags),
    )
    problems = {
        "name": "" if found.name is None else job_name_problem(found.name),
        "note": _note_problem(found.note or ""),
        "tags": _tags_problem(found.tags or ()),
        "best": "" if not found.best or _is_picked(found.best, job.artifacts) else "The job has no such LoRA file.",
    }
    if any(problems.values()):
        raise InvalidRequest(
            "The changes cannot be saved.", fields={name: text for name, text in problems.items() if text}
        )
    return found


def _tidy(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({key for tag in tags if (key := search_key(tag))}))


def _note_problem(note: str) -> str:
    if len(note) > MAX_NOTE_LENGTH:
        return f"The note is longer than {MAX_NOTE_LENGTH:,} characters."
    return character_problem(note, "The note")


def _tags_problem(tags: tuple[str, ...]) -> str:
    if len(tags) > MAX_TAGS:
        return f"A job can have {MAX_TAGS} tags at most."
    if any(len(tag) > MAX_TAG_LENGTH or "," in tag for tag in tags):
        return f"A tag has {MAX_TAG_LENGTH} characters at most and no comma."
    return next((found for tag in tags if (found := character_problem(tag, "A tag", is_line=True))), "")


def _is_picked(artifact_id: str, artifacts: Iterable[Artifact]) -> bool:
    return any(file.id == artifact_id and file.kind in PICKED_KINDS for file in artifacts)
