"""Every error that a user may see.

DashboardError
├── SourceError
│   ├── SourceUnavailable
│   │   └── SubmissionUnsure
│   ├── AccessDenied
│   ├── JobNotFound
│   ├── InvalidRequest
│   ├── NotSupported
│   └── BadPayload
├── NotAllowed
├── StoreError
├── WorkerError
├── ArtifactError
├── DatasetError
└── SettingsError

``str(error)`` is one plain sentence that says what happened; ``error.hint`` says what to do next.
Neither ever contains a token, a key or a signed link.
"""

from collections.abc import Mapping


class DashboardError(Exception):
    """An error whose text is meant for a person.

    Args:
        message: One plain sentence: what happened, and why if it is known.
        hint: What to do next; empty when there is nothing to do.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SourceError(DashboardError):
    """The source of jobs did not do what was asked."""


class SourceUnavailable(SourceError):
    """No answer, a timeout or a server error: trying again may help."""


class SubmissionUnsure(SourceUnavailable):
    """Whether a job was created is unknown. Submitting again with the same id is safe and finds out."""


class AccessDenied(SourceError):
    """The source does not accept the credentials (401, 403)."""


class JobNotFound(SourceError):
    """The source has no job with this id."""

    def __init__(self, job_id: str, *, hint: str = "It may have been deleted, or the link is incomplete.") -> None:
        super().__init__(f"There is no job with the id {job_id[:80]!r}.", hint=hint)
        self.job_id = job_id


class InvalidRequest(SourceError):
    """The source refused what was asked.

    Args:
        message: One plain sentence.
        fields: Field name -> what is wrong with it; may be empty.
        hint: What to do next.
    """

    def __init__(self, message: str, *, fields: Mapping[str, str] | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.fields = dict(fields or {})


class NotSupported(SourceError):
    """The source cannot do this at all."""


class BadPayload(SourceError):
    """The source's answer cannot be understood."""


class NotAllowed(DashboardError):
    """The visitor's role does not allow it."""


class StoreError(DashboardError):
    """The database or the data folder cannot be used (corrupt, read-only, full)."""


class WorkerError(DashboardError):
    """The worker process could not be started or does not answer."""


class ArtifactError(DashboardError):
    """A trained file cannot be found, read or signed for."""


class DatasetError(DashboardError):
    """A dataset or one of its files cannot be used."""


class SettingsError(DashboardError):
    """A setting is missing or wrong; the message names it and where it was read."""
