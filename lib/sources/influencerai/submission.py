"""Creates one job per submission: looks for it before sending POST /jobs, and again if the response is unclear."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.errors import BadPayload, InvalidRequest, SourceError, SourceUnavailable, SubmissionUnsure
from lib.sources.influencerai.api_errors import AnswerTooLarge, NotSent, ServerFailed
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.snapshot import JOB_TYPE, SUBMISSION_KEY, Snapshot, read_snapshot, read_snapshots

MOST_REMEMBERED = 1000
NEWEST_ROWS = 20
ANYWAY = "choose 'Start another one like it'"


@dataclass(kw_only=True)
class _Submission:
    lock: threading.Lock = field(default_factory=threading.Lock)
    created: Snapshot | None = None
    is_unsure: bool = False


class Submissions:
    """The outcome of each submission. Thread-safe: a double click waits for the first."""

    def __init__(self, client: InfluencerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Submission] = OrderedDict()

    def submit(self, submission_id: str, payload: Mapping[str, Any], *, anyway: str = ANYWAY) -> Snapshot:
        """The one job of this submission.

        Args:
            submission_id: Identifies the submission, however often it is sent.
            payload: What the worker gets.
            anyway: How a person can start the job even though it may already exist.

        Raises:
            SubmissionUnsure: It is not known whether the job was created; the hint ends with ``anyway``.
            SourceError: The job was not created; submitting again is safe.
        """
        submission = self._submission(submission_id)
        with submission.lock:
            if submission.created is None:
                submission.created = self._find_or_post(submission, submission_id, payload, anyway)
            return submission.created

    def _find_or_post(
        self, submission: _Submission, submission_id: str, payload: Mapping[str, Any], anyway: str
    ) -> Snapshot:
        failed: ServerFailed | None = None
        if not submission.is_unsure:
            # The dashboard may have been restarted since, or another one may have sent it.
            if found := self._find(submission_id):
                return found
            submission.is_unsure = True  # until an answer says otherwise
            try:
                return self._post(submission_id, payload)
            except ServerFailed as error:
                failed = error
            except SourceError as error:
                if isinstance(error, NotSent) or not isinstance(error, SourceUnavailable | BadPayload):
                    submission.is_unsure = False
                    raise
        try:
            found = self._find(submission_id)
        except SourceError as error:
            raise _unsure("its list of jobs cannot be read either", anyway) from error
        if found is not None:
            return found
        if failed is None:
            raise _unsure("it does not list such a job so far", anyway)
        submission.is_unsure = False  # the API has finished with it, so a job that is not listed now was not created
        raise failed from None

    def _post(self, submission_id: str, payload: Mapping[str, Any]) -> Snapshot:
        body = {"type": JOB_TYPE, "payload": {**payload, SUBMISSION_KEY: submission_id}}
        return read_snapshot(self._client.send("POST", "/jobs", body))

    def _find(self, submission_id: str) -> Snapshot | None:
        """The job of a submission among the newest ones."""
        rows = self._newest_rows()
        if not isinstance(rows, list):
            raise BadPayload(f"The InfluencerAI API at {self._client.host} sent something other than a list.")
        snapshots, _ = read_snapshots(rows)
        return next((each for each in snapshots if each.submission_id == submission_id), None)

    def _newest_rows(self, count: int = NEWEST_ROWS) -> Any:
        """The newest rows; fewer if the response is too large."""
        try:
            return self._client.get_list("/jobs", {"type": JOB_TYPE, "take": count}).data
        except AnswerTooLarge:
            if count == 1:
                raise
            return self._newest_rows(count // 4)

    def _submission(self, submission_id: str) -> _Submission:
        if not submission_id:
            raise InvalidRequest("The job has no submission id.")
        with self._lock:
            found = self._known.setdefault(submission_id, _Submission())
            self._known.move_to_end(submission_id)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
            return found


def _unsure(why: str, anyway: str) -> SubmissionUnsure:
    return SubmissionUnsure(
        f"The InfluencerAI API gave no clear answer to the new job, and {why}: it may or may not have been created.",
        hint=f"It is not sent a second time. Look at the list in a minute; to start it anyway {anyway}.",
    )
