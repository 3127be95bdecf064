"""What a failed request tells: which host, in which direction, and what it answered."""

import re
from dataclasses import dataclass

from lib.jobs.failures.causes import Cause
from lib.jobs.failures.tracebacks import Raised

_HOSTS = (
    re.compile(r"(?P<host>https?://[\w.-]+(?::\d+)?)"),
    re.compile(r"\(?host='?(?P<host>[\w.-]+)'?,? ?port=(?P<port>\d+)"),
    re.compile(r"\('(?P<host>[\w-]+(?:\.[\w-]+)+)', (?P<port>\d+)\)"),
    re.compile(r"(?:resolve (?:host|')|hostname |[Hh]ost:? )'?(?P<host>[\w-]+(?:\.[\w-]+)+)"),
)
_STATUS = re.compile(
    r"\b(?P<code>40[0134]|409|416|429|5\d\d) (?:(?:Client|Server) Error|Forbidden|Unauthorized|Not Found|Bad Gateway"
    r"|Service|Internal|Gateway)"
    r"|HTTP(?: Error|Error|/1\.1)?:? \"?(?P<code2>40[134]|429|5\d\d)\b"
    r"|[Ss]tatus(?: ?[Cc]ode)?[:= ]+\(?(?P<code3>40[134]|429|5\d\d)\b|\b(?P<code4>429) Too Many"
    r"|rate.?limit|Too Many Requests"
)
# That nobody answered, in the words of sockets, resolvers and their wrappers.
_NO_ANSWER = re.compile(
    r"(?i)time?d? ?out|refused|resol(?:ve|ution)|reach|reset|abort|retries exceeded|disconnect|not known|getaddrinfo"
    r"|connect|SSL|certificate|proxy|incomplete|broken|offline|error sending request|10(?:060|061|054|051)"
)
_UPLOAD = re.compile(
    r"(?i)upload|push_to_hub|create_repo|create_commit|preupload|put_?object|PutObject|git-receive-pack|commit/main"
)
_REPORT = re.compile(
    r"(?i)wandb|comet|mlflow|neptune|clearml|swanlab|discord|webhook|telegram|trackio|tensorboard\.dev"
)
_STORAGE = re.compile(
    r"(?i)botocore|boto3|\bs3\b|s3\.|minio|gcsfs|azure|storage\.googleapis|list-type=2|\bOperation\b.*Bucket"
)
_CAUSES = {401: Cause.MISSING_LOGIN, 403: Cause.PERMISSION_DENIED, 404: Cause.MISSING_FILE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that failed.

    Attributes:
        host: Whom it asked; empty when nothing tells.
        direction: ``download``, ``upload``, ``report`` or ``storage``.
        status: What the host answered, None for no answer, 0 for an answer that is not known.
    """

    host: str
    direction: str
    status: int | None

    @property
    def cause(self) -> Cause:
        """The cause that the answer means."""
        return _CAUSES.get(self.status or 0, Cause.NETWORK)

    @property
    def sentence(self) -> str:
        """What happened, in one plain sentence."""
        host = self.host or {"report": "the tracking service", "storage": "the storage"}.get(
            self.direction, "the server"
        )
        what = {
            "download": "A download",
            "upload": "An upload",
            "report": "The report to a tracking service",
            "storage": "A request to the storage",
        }[self.direction]
        answers = {
            None: f"{host} could not be reached",
            401: f"{host} does not know who asks (401)",
            403: f"{host} does not allow it (403)",
            404: f"{host} does not have it (404)",
            429: f"{host} was asked too often (429)",
            0: f"{host} did not do what it was asked for",
        }
        return f"{what} failed: {answers.get(self.status, f'{host} answered with an error ({self.status})')}."

    @property
    def hint(self) -> str:
        """What to do about it; empty when the cause's own hint says it."""
        if self.direction == "report" and self.status is None:
            return "Check the connection, or train without the tracking service (--log_with, report_to)."
        return {
            None: ""
            if self.direction == "download"
            else f"Check that {self.host or 'the server'} is up and can be reached from where the trainer runs.",
            401: "Sign in where the trainer runs: set the token or the keys that the service wants.",
            403: "Ask for access, or accept the licence, with the account whose token the trainer uses.",
            404: "Check the name or the address in the settings.",
            429: "Wait some minutes and try again, signed in with a token of your own.",
            0: "The lines from the log say what was asked and what was answered.",
        }.get(self.status, "Try again later: the fault is on the other side.")


def request_of(raised: Raised, around: str) -> Request:
    """The request behind a failure.

    Args:
        raised: What was raised.
        around: More of the log that belongs to it, such as its frames.
    """
    text = raised.text[:4_000]
    more = f"{text}\n{around[:8_000]}"
    status = _STATUS.search(text)
    code = next((group for group in status.groups() if group), "429") if status else "0"
    direction = "download"
    for name, pattern in (("upload", _UPLOAD), ("report", _REPORT), ("storage", _STORAGE)):
        if pattern.search(more):
            direction = name
            break
    return Request(
        host=_host(text) or _host(around),
        direction=direction,
        status=int(code) or (None if _NO_ANSWER.search(text) else 0),
    )


def _host(text: str) -> str:
    for pattern in _HOSTS:
        if match := pattern.search(text):
            port = match.groupdict().get("port")
            host = match["host"].rstrip(".")
            return f"{host}:{port}" if port and port not in {"80", "443"} else host
    return ""
