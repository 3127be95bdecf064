"""New jobs: POST /jobs is sent at most once per submission, and looked for when no answer came."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.errors import BadPayload, InvalidRequest, SourceError, SourceUnavailable
from lib.sources.influencerai.answers import ServerFailed
from lib.sources.influencerai.client import InfluencerClient
from lib.sources.influencerai.payload import JOB_TYPE, SUBMISSION_KEY, Snapshot, read_snapshot, read_snapshots

MOST_REMEMBERED = 1000
NEWEST_ROWS = 20


@dataclass(kw_only=True)
class _Submission:
    lock: threading.Lock = field(default_factory=threading.Lock)
    created: Snapshot | None = None
    is_unsure: bool = False


class Submissions:
    """What became of each submission. Safe to use from several threads: a double click waits for the first."""

    def __init__(self, client: InfluencerClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Submission] = OrderedDict()

    def submit(self, submission_id: str, payload: Mapping[str, Any]) -> Snapshot:
        """The one job of this submission. Raises SourceUnavailable when it is not known whether it was created."""
        submission = self._submission(submission_id)
        with submission.lock:
            if submission.created is None and submission.is_unsure:
                submission.created = self._found_or_unsure(submission_id)
            if submission.created is None:
                submission.created = self._post(submission, submission_id, payload)
            return submission.created

    def _post(self, submission: _Submission, submission_id: str, payload: Mapping[str, Any]) -> Snapshot:
        body = {"type": JOB_TYPE, "payload": {**payload, SUBMISSION_KEY: submission_id}}
        try:
            return read_snapshot(self._client.send("POST", "/jobs", body))
        except ServerFailed as error:
            # The API is done with it: what is not in its list now was not created.
            found = self._find(submission_id)
            if found is None:
                raise error from None
            return found
        except (SourceUnavailable, BadPayload):
            submission.is_unsure = True
            return self._found_or_unsure(submission_id)

    def _found_or_unsure(self, submission_id: str) -> Snapshot:
        try:
            found = self._find(submission_id)
        except SourceError as error:
            raise _unsure("its list of jobs cannot be read either") from error
        if found is None:
            raise _unsure("it does not list such a job so far")
        return found

    def _find(self, submission_id: str) -> Snapshot | None:
        """The job of a submission among the newest ones."""
        rows = self._client.get_list("/jobs", {"type": JOB_TYPE, "take": NEWEST_ROWS}).data
        snapshots, _ = read_snapshots(rows if isinstance(rows, list) else ())
        return next((each for each in snapshots if each.submission_id == submission_id), None)

    def _submission(self, submission_id: str) -> _Submission:
        if not submission_id:
            raise InvalidRequest("The job has no submission id.")
        with self._lock:
            found = self._known.setdefault(submission_id, _Submission())
            self._known.move_to_end(submission_id)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
            return found


def _unsure(why: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"The InfluencerAI API gave no answer to the new job, and {why}: it may or may not have been created.",
        hint="It is not sent a second time. Look for it in the list of jobs; if it does not appear within a minute, "
        "reload this page and start it anew.",
    )
