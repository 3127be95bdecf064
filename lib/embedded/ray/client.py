"""Ray's Jobs REST API over plain HTTP. What it really answers was recorded; see ``tests/recordings/ray``.

API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html (version 4).
"""

import contextlib
import json as json_text
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from lib.embedded.header_deadline import BoundedAdapter
from lib.embedded.ray.nodes import cluster_from
from lib.errors import AccessDenied, BadPayload, InvalidRequest, SourceError, SourceUnavailable
from lib.jobs.cluster import CPU, GPU, MEMORY, Cluster
from lib.ray_settings import RaySettings

TIMEOUT_S = 10.0
PAGE_TIMEOUT_S = 4.0  # nobody waits longer for a page
FIRST_TIMEOUT_S = 30.0  # the first submit after a head's start takes seconds, a package of megabytes too
MOST_ANSWER_BYTES = 32 << 20  # of the nodes' load, 14 kB each; an error needs a hundredth of it
_CHUNK_BYTES = 64 << 10
_LEAST_TIMEOUT_S = 0.1
_SHOWN_CHARACTERS, _MOST_CHARACTERS = 300, 20_000
TERMINAL = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is sent to start an attempt.

    Attributes:
        id: Letters, digits, hyphens; at most 64. Ray starts nothing twice under one id.
        entrypoint: A shell line.
        needs: Resource -> amount, as ``lib.jobs.cluster.needs_of`` gives it.
        environ: Variables of the runner. Everybody who reaches the cluster can read them.
        package: Name of the package that is unpacked as the working folder.
    """

    id: str
    entrypoint: str
    needs: Mapping[str, float]
    environ: Mapping[str, str] = field(default_factory=dict)
    package: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJob:
    """What Ray says about a submitted job. Unknown words are kept as they are.

    Attributes:
        message: May be empty, or have many lines, the last ones of the entrypoint's output among them.
        exit_code: Of the entrypoint; None when Ray did not see it.
    """

    id: str
    status: str
    error: str = ""
    message: str = ""
    exit_code: int | None = None

    @property
    def first_line(self) -> str:
        """What to show of the message: the rest may name other people's processes."""
        return self.message.partition("\n")[0][:_SHOWN_CHARACTERS].rstrip(".")

    @property
    def last_line(self) -> str:
        """What the entrypoint said last."""
        return _last_line(self.message).rstrip(".")

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class _Answer:
    status_code: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    @property
    def reason(self) -> str:
        """What it says: of a traceback the last line, of a page, which a proxy puts there, its status alone."""
        is_page = self.text.lstrip()[:1] == "<"
        return f"HTTP {self.status_code}" if is_page else _last_line(self.text)


class RayClient:
    """One cluster. Every call raises SourceUnavailable, AccessDenied or BadPayload when there is no good answer."""

    def __init__(
        self, settings: RaySettings, *, timeout_s: float = TIMEOUT_S, now: Callable[[], float] = time.time
    ) -> None:
        self._base = settings.address.rstrip("/")
        self._now, self._timeout_s = now, timeout_s
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, BoundedAdapter())
        self._session.trust_env = False  # a proxy of this machine's has no way into the cluster
        self._token = settings.token.encode()
        if settings.token:
            self._session.headers["Authorization"] = f"Bearer {settings.token}"
        self.bytes_read = 0

    @property
    def name(self) -> str:
        """Where the cluster is, without what an address may hold of secrets."""
        parts = urlsplit(self._base)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def version(self) -> str:
        """Ray's version."""
        return str(self._json("/api/version").get("ray_version", ""))

    def job(self, job_id: str) -> RayJob | None:
        """What Ray knows about a job; None when it knows none of this id."""
        answer = self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}")
        if answer.status_code == 404 and "does not exist" in answer.text:
            return None
        found = self._object(answer)
        if not isinstance(found.get("status"), str):
            raise self._not_understood()
        code = found.get("driver_exit_code")
        return RayJob(
            id=job_id,
            status=found["status"],
            error=str(found.get("error_type") or ""),
            message=str(found.get("message") or "").strip()[:_MOST_CHARACTERS],
            exit_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
        )

    def submit(self, submission: Submission) -> None:
        """Start a job unless Ray has it already. Accepted means noted: most mistakes show later.

        Raises:
            InvalidRequest: Ray refused what was asked.
        """
        runtime: dict[str, Any] = {"env_vars": dict(submission.environ)}
        if submission.package:
            runtime["working_dir"] = f"gcs://{submission.package}"
        needs = submission.needs
        body = {
            "entrypoint": submission.entrypoint,
            "submission_id": submission.id,
            "runtime_env": runtime,
            "entrypoint_num_cpus": needs.get(CPU, 0),
            "entrypoint_num_gpus": needs.get(GPU, 0),
            "entrypoint_memory": int(needs.get(MEMORY, 0)) or None,
            "entrypoint_resources": {name: each for name, each in needs.items() if name not in (CPU, GPU, MEMORY)},
        }
        body = {name: value for name, value in body.items() if value not in (None, {})}
        answer = self._ask("POST", "/api/jobs/", json=body, timeout_s=FIRST_TIMEOUT_S)
        if answer.status_code == 500 and "already exists" in answer.text:
            return
        if answer.status_code == 400:
            raise InvalidRequest(f"The cluster refused the job: {answer.reason}")
        self._object(answer)

    def send_package(self, name: str, data: bytes) -> None:
        """Have a package there; it vanishes with the last job that used it."""
        path = f"/api/packages/gcs/{quote(name, safe='')}"
        if self._ask("GET", path, is_bare=True).status_code != 200:
            self._checked(self._ask("PUT", path, data=data, timeout_s=FIRST_TIMEOUT_S))

    def stop(self, job_id: str) -> None:
        """Ask for the end of a job; nothing happens when it is over or unknown. It also makes Ray look at the job."""
        answer = self._ask("POST", f"/api/jobs/{quote(job_id, safe='')}/stop")
        if answer.status_code != 404:
            self._checked(answer)

    def look_again(self, job_id: str) -> None:
        """Let Ray look whether a job lives: after a restart of the head its states are stale until somebody asks so."""
        with contextlib.suppress(SourceError):
            self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}/logs", is_bare=True)

    def forget(self, job_id: str) -> None:
        """Remove the record of a job that is over: Ray keeps all it ever had."""
        self._ask("DELETE", f"/api/jobs/{quote(job_id, safe='')}", is_bare=True)

    def cluster(self, *, with_load: bool = False) -> Cluster:
        """The nodes that are alive and what is free on them.

        Args:
            with_load: Also host names and what processors, memory and cards do, which is an answer of 14 kB per node.
        """
        # Where somebody waits for a page, it is the time for all of it.
        until = time.monotonic() + self._timeout_s if with_load else math.inf
        status = self._json("/api/cluster_status", until)
        nodes = self._json("/api/v0/nodes?detail=1", until)
        # Ray keeps this answer for minutes unless the address is new.
        load = self._json(f"/nodes?view=summary&_={self._now():.0f}", until) if with_load else {}
        try:
            return cluster_from(status, nodes, load)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
            raise self._not_understood() from None

    def _json(self, path: str, until: float = math.inf) -> Mapping[str, Any]:
        left_s = max(_LEAST_TIMEOUT_S, until - time.monotonic())
        return self._object(self._ask("GET", path, timeout_s=min(self._timeout_s, left_s)))

    def _object(self, answer: _Answer) -> Mapping[str, Any]:
        self._checked(answer)
        try:
            found = json_text.loads(answer.content)
        except (ValueError, RecursionError):
            raise self._not_understood() from None
        if not isinstance(found, dict):
            raise self._not_understood()
        return found

    def _checked(self, answer: _Answer) -> None:
        if answer.status_code == 404:
            raise self._not_understood()
        if answer.status_code != 200:
            raise SourceUnavailable(
                f"The Ray cluster at {self.name} answered with an error: {answer.reason}",
                hint="See the logs of its head. It is asked again by itself.",
            )

    def _not_understood(self) -> BadPayload:
        return BadPayload(
            f"What answers at {self.name} is not Ray's Jobs API.",
            hint="RAY_ADDRESS is the address of the dashboard of the head, such as http://head:8265; Ray 2.9 or newer.",
        )

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        timeout_s: float | None = None,
        is_bare: bool = False,
    ) -> _Answer:
        """One exchange. Only ``is_bare`` leaves a refusal to the caller."""
        timeout_s = timeout_s or self._timeout_s
        deadline = time.monotonic() + timeout_s
        try:
            with self._session.request(
                method,
                self._base + path,
                json=json,
                data=data,
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = _Answer(response.status_code, self._content(response, deadline))
        except (requests.RequestException, HTTPError, OSError) as error:
            reason = "it took too long" if "timed out" in str(error).lower() else "no connection"
            raise SourceUnavailable(
                f"The Ray cluster at {self.name} does not answer ({reason}).",
                hint="Check RAY_ADDRESS and that the head runs. It is asked again by itself; nothing is lost.",
            ) from None
        if answer.status_code in (401, 403) and not is_bare:
            said = "refused the token" if self._token else "asks for a token, and none is set here"
            raise AccessDenied(
                f"The Ray cluster at {self.name} {said}.",
                hint="Set RAY_AUTH_TOKEN to the token of the cluster: ray get-auth-token shows it there.",
            )
        return answer

    def _content(self, response: requests.Response, deadline: float) -> bytes:
        """The body, piece by piece: the timeout of a request is about each piece, not about all of them."""
        found = bytearray()
        while piece := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            found += piece
            self.bytes_read += len(piece)
            if len(found) > MOST_ANSWER_BYTES:
                raise self._not_understood()
            if time.monotonic() > deadline:
                raise requests.ReadTimeout("timed out")
        # What answers may repeat the question, and its words are shown and logged.
        return bytes(found).replace(self._token, b"(token)") if self._token else bytes(found)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason given")[:_SHOWN_CHARACTERS]
