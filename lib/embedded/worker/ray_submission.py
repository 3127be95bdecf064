"""What is written down of a submission to a Ray cluster, and how long is waited there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.files.availability import read_file
from lib.embedded.files.json_file import json_object, replace_json
from lib.embedded.store.runs import Claim

RECORD = "ray.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayLimits:
    """How long is waited. The defaults are for people; tests shorten them.

    Attributes:
        room_s: What the cluster had free counts for so long.
        counted_s: A job that has run for so long is among what the cluster says is used.
        settle_s: After Ray's last word the record of the end may still be on its way through the file system. With a
            store it is known when all is here: then it is how long a stopped one waits for that.
        look_s: A runner that showed no life for so long makes Ray look again.
        away_s: A cluster that does not answer for so long is out of touch.
        lost_s: A job that Ray forgot, without a sign of life for so long, is lost. Time in which no sign could be
            seen does not count.
        gone_s: The same for a job whose cluster does not answer.
        missing_s: An attempt whose folder is missing for so long is stopped.
        deaf_s: A store that did not answer for so long shows no sign of life, and no lack of one.
        stop_margin_s: What Ray waits beyond the trainer's own time to stop.
    """

    room_s: float = 10.0
    counted_s: float = 8.0
    settle_s: float = 5.0
    look_s: float = 20.0
    away_s: float = 20.0
    lost_s: float = 90.0
    gone_s: float = 900.0
    missing_s: float = 30.0
    deaf_s: float = 20.0
    stop_margin_s: float = 20.0


RAY_LIMITS = RayLimits()
# The end comes through the store, and so do files that are saved while it stops.
STORE_LIMITS = RayLimits(settle_s=60.0, stop_margin_s=120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRecord:
    """What is written into the attempt's folder before anything is sent, so that the next worker finds it.

    Attributes:
        inputs: Name -> a folder that the command reads.
        number: Counts the submissions of one attempt, which Ray may have had no room for.
    """

    id: str
    needs: Mapping[str, float] = field(default_factory=dict)
    stop_grace_s: float = 10.0
    inputs: Mapping[str, str] = field(default_factory=dict)
    was_accepted: bool = False
    number: int = 1

    def write(self, folder: AttemptFolder) -> None:
        """Replace what was written before."""
        replace_json(folder.path / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: AttemptFolder, claim: Claim) -> "SubmissionRecord":
        """What was written; without it nothing was ever sent. A trainer may have put something else in its place."""
        data = read_file(folder.path / RECORD)
        found = (json_object(data) if data else None) or {}
        names = {each.name for each in fields(cls)}
        first = cls(id=submission_id(claim))
        try:
            record = cls(**{name: value for name, value in found.items() if name in names})
            numbers = (record.number, record.stop_grace_s, *record.needs.values())
            record.inputs.values()
        except (TypeError, AttributeError):
            return first
        is_ours = all(isinstance(each, int | float) for each in numbers)
        return record if is_ours and record.id == submission_id(claim, record.number) else first


def submission_id(claim: Claim, number: int = 1) -> str:
    """``lora-<job>-a<attempt>``; later submissions of one attempt are numbered: Ray must never see an id twice."""
    return f"lora-{claim.job_id}-a{claim.attempt}" + (f"-{number}" if number > 1 else "")
