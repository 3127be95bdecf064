"""A real HTTP server that answers as the InfluencerAI API does, from the recordings, and misbehaves on request."""

import base64
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.ports import lasting_port

RECORDINGS = Path(__file__).parents[2] / "recordings" / "api"
EMAIL, PASSWORD = "admin@acme.test", "correct horse battery staple"
STATUSES = ("pending", "running", "succeeded", "failed", "completed")
TYPES = ("content-generation", "image-generation", "lora-training", "video-generation")
START = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def recorded(name: str) -> dict[str, Any]:
    """One recorded exchange: ``recorded("jobs/30-get-404")``."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return found


def iso(at: datetime) -> str:
    """A time as the API writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@dataclass(kw_only=True)
class Trouble:
    """What goes wrong for requests whose ``METHOD /path`` matches, so many times, after ``skip`` good ones."""

    pattern: str
    kind: str
    times: int = 1_000_000
    skip: int = 0
    release: threading.Event = field(default_factory=threading.Event)
    happened: threading.Event = field(default_factory=threading.Event)


class ApiServer:
    """Start it, point a client at ``url``, look at ``requests`` afterwards. It can be stopped and started again."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.datasets: list[dict[str, Any]] = list(recorded("datasets/05-list")["response"]["body"])
        self.configs: list[dict[str, Any]] = list(recorded("lora-configs/01-list")["response"]["body"]["data"])
        self.health: dict[str, Any] = recorded("health/healthz")["response"]["body"]
        self.tokens: set[str] = set()
        self.tenant: str | None = "tenant_dev_1"  # of the tokens that it gives out
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        self.authorizations: list[str] = []
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._troubles: list[Trouble] = []
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._port = lasting_port()
        self._count = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.api = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering, at once: open connections are cut as well."""
        if self._server is not None:
            self.calm()
            self._server.shutdown()
            self._server.cut_connections()
            self._server.server_close()
            self._server = None

    def trouble(self, pattern: str, kind: str, times: int = 1_000_000, skip: int = 0) -> Trouble:
        """Misbehave from now on, in one of the ways of ``_misbehave``."""
        trouble = Trouble(pattern=pattern, kind=kind, times=times, skip=skip)
        with self._lock:
            self._troubles.append(trouble)
        return trouble

    def calm(self) -> None:
        """Behave again."""
        with self._lock:
            troubles, self._troubles = self._troubles, []
        for trouble in troubles:
            trouble.release.set()

    def count(self, pattern: str) -> int:
        """How many requests matched."""
        return sum(bool(re.search(pattern, f"{method} {path}")) for method, path in list(self.requests))

    def add_job(self, job_id: str = "", **fields: Any) -> dict[str, Any]:
        """A job row; later ones are newer."""
        with self._lock:
            self._count += 1
            created = iso(START + timedelta(seconds=self._count))
            row = {
                "id": job_id or f"job_{self._count:05d}",
                "tenantId": "tenant_dev_1",
                "type": "lora-training",
                "status": "pending",
                "payload": {"trainingName": f"bulk {self._count}"},
                "result": None,
                "costTok": None,
                "startedAt": None,
                "finishedAt": None,
                "createdAt": created,
                "updatedAt": created,
                **fields,
            }
            self.jobs[row["id"]] = row
            return row

    def patch(self, job_id: str, status: str | None = None, result: Any = None, at: datetime | None = None) -> None:
        """As PATCH /jobs/:id: times are rewritten at every write, the result is replaced."""
        row, now = self.jobs[job_id], iso(at or self.now())
        changes: dict[str, Any] = {"result": result, "updatedAt": now}
        if status:
            changes["status"] = status
        if status == "running":
            changes["startedAt"] = now
        elif status in ("succeeded", "failed", "completed"):
            changes |= {"startedAt": now, "finishedAt": now}
        self.jobs[job_id] = {**row, **changes}

    def next_trouble(self, line: str) -> Trouble | None:
        with self._lock:
            for trouble in self._troubles:
                if trouble.times > 0 and re.search(trouble.pattern, line):
                    if trouble.skip:
                        trouble.skip -= 1
                        continue
                    trouble.times -= 1
                    return trouble
        return None


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """A server that is running."""
    api = ApiServer()
    api.start()
    try:
        yield api
    finally:
        api.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    api: ApiServer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server."""

    def cut_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_arguments: object) -> None:
        """Keep the test output readable."""

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        api = self.server.api
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.sent = json.loads(body) if body else None
        api.requests.append((self.command, self.path))
        api.bodies.append(self.sent)
        api.authorizations.append(self.headers.get("authorization", ""))
        trouble = api.next_trouble(f"{self.command} {self.path}")
        if trouble is None:
            self._answer(*self._route())
            return
        try:
            self._misbehave(trouble)
        except OSError:
            self.close_connection = True
        finally:
            trouble.happened.set()

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _misbehave(self, trouble: Trouble) -> None:
        kind = trouble.kind
        if kind.isdecimal():
            page = b"<html><body>Bad gateway</body></html>"
            as_html = kind in ("405", "502", "503")
            self._answer(
                int(kind),
                page if as_html else {"statusCode": int(kind), "message": "Internal server error"},
                {"content-type": "text/html"} if as_html else None,
            )
        elif kind == "reset":
            self._reset()
        elif kind == "hang":
            trouble.happened.set()
            trouble.release.wait(60)
            self.close_connection = True
        elif kind == "lost":  # the request is carried out, the answer never comes
            self._route()
            trouble.happened.set()
            trouble.release.wait(60)
            self._reset()
        elif kind == "slow":  # the answer comes when the test says so
            trouble.happened.set()
            trouble.release.wait(60)
            self._answer(*self._route())
        elif kind == "drip":
            self._begin(200, "application/json", 1_000_000)
            trouble.happened.set()
            while not trouble.release.wait(0.02):
                self.wfile.write(b" ")
        elif kind == "drip headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            trouble.happened.set()
            while not trouble.release.wait(0.02):
                self.wfile.write(b"x")
        elif kind == "flood":
            self._begin(200, "application/json", 1 << 40)
            for _ in range(4096):
                self.wfile.write(b" " * (1 << 16))
        elif kind == "cut":
            self._begin(200, "application/json", 1000)
            self.wfile.write(b'[{"id":"a"')
            self.close_connection = True
        elif kind == "truncated":
            self._answer(200, b'[{"id":"a","status":"run')
        elif kind == "html":
            self._answer(200, b"<!doctype html><html><body>Sign in</body></html>", {"content-type": "text/html"})
        elif kind == "store":
            error = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
            self._answer(403, error, {"content-type": "application/xml"})
        elif kind == "redirect":
            self._answer(302, b"", {"location": "http://127.0.0.1:9/elsewhere"})
        else:
            raise AssertionError(kind)

    def _begin(self, status: int, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(length))
        self.end_headers()

    def _reset(self) -> None:
        """Close without a word: RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _route(self) -> tuple[int, Any, dict[str, str]]:
        parts = urlsplit(self.path)
        segments = [unquote(each) for each in parts.path.strip("/").split("/")]
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if (self.command, segments) == ("POST", ["auth", "login"]):
            return self._login()
        if segments == ["healthz"]:
            return 200, self.server.api.health, {}
        if segments[0] not in ("jobs", "queues", "datasets", "lora-configs"):  # unknown routes need no token
            return self._unknown(parts.path)
        if refused := self._refused():
            return refused
        if any(len(each) > 100 for each in segments):
            return self._recorded("jobs/34-get-200-char-id")
        match self.command, segments:
            case "GET", ["jobs"]:
                return self._list_jobs(query)
            case "GET", ["jobs", job_id]:
                found = self.server.api.jobs.get(job_id)
                return (200, found, {}) if found else self._recorded("jobs/30-get-404")
            case "POST", ["jobs"]:
                return self._create_job()
            case "GET", ["queues", "summary"]:
                return self._recorded("queues/01-summary")
            case "GET", ["datasets"]:
                rows = self.server.api.datasets
                return 200, self._paged(rows, query), {"x-total-count": str(len(rows))}
            case "GET", ["datasets", dataset_id]:
                return self._one(self.server.api.datasets, dataset_id, "datasets/07-get-404")
            case _, ["lora-configs", *rest]:
                return self._configs(query, rest)
        return self._unknown(parts.path)

    def _unknown(self, path: str) -> tuple[int, Any, dict[str, str]]:
        return 404, {"message": f"Cannot {self.command} {path}", "error": "Not Found", "statusCode": 404}, {}

    def _login(self) -> tuple[int, Any, dict[str, str]]:
        sent = self.sent if isinstance(self.sent, dict) else {}
        if (sent.get("email"), sent.get("password")) != (EMAIL, PASSWORD):
            return self._recorded("auth/02-login-bad-password")
        claims = {"sub": f"secret{len(self.server.api.requests)}", "tenantId": self.server.api.tenant}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        token = f"eyJhbGciOiJIUzI1NiJ9.{payload}.signature"
        self.server.api.tokens.add(token)
        return 201, {"access_token": token}, {}

    def _refused(self) -> tuple[int, Any, dict[str, str]] | None:
        given = self.headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return self._recorded("auth/20-noauth-jobs")
        if given.removeprefix("Bearer ") not in self.server.api.tokens:
            return self._recorded("auth/40-expired-token")
        return None

    def _list_jobs(self, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        problems = {}
        for name, lowest, highest in (("take", 1, 100), ("skip", 0, 10**9)):
            if name in query and not (query[name].isdecimal() and lowest <= int(query[name]) <= highest):
                problems[name] = [f"Number must be between {lowest} and {highest}"]
        for name, words in (("status", STATUSES), ("type", TYPES)):
            if name in query and query[name] not in words:
                problems[name] = [f"Invalid enum value. Expected {words}, received '{query[name]}'"]
        if problems:
            return 400, {"formErrors": [], "fieldErrors": problems}, {}
        rows = [
            row
            for row in reversed(list(self.server.api.jobs.values()))
            if all(query.get(name) in (None, row.get(name)) for name in ("status", "type"))
        ]
        return 200, self._paged(rows, query), {}

    def _create_job(self) -> tuple[int, Any, dict[str, str]]:
        sent = self.sent
        if not isinstance(sent, dict) or not isinstance(sent.get("payload"), dict):
            return self._recorded("jobs/16-create-bad-no-payload")
        now = iso(self.server.api.now())
        row = self.server.api.add_job(type=sent["type"], payload=sent["payload"], createdAt=now, updatedAt=now)
        return 201, row, {}

    def _configs(self, query: dict[str, str], rest: list[str]) -> tuple[int, Any, dict[str, str]]:
        rows = self.server.api.configs
        if self.command == "GET" and not rest:
            page = self._paged(rows, query)
            return 200, {"data": page, "total": len(rows), "take": 20, "skip": 0}, {"x-total-count": str(len(rows))}
        if self.command == "POST":
            return self._save_config(recorded("lora-configs/02-create-minimal")["response"]["body"], status=201)
        found = next((row for row in rows if row["id"] == rest[0]), None)
        if found is None:
            return self._recorded("lora-configs/09-get-404")
        if self.command == "PATCH":
            return self._save_config(found, status=200)
        if self.command == "DELETE":
            used = any(
                row["status"] in ("pending", "running") and row["payload"].get("configId") == found["id"]
                for row in self.server.api.jobs.values()
            )
            if used:
                return self._recorded("lora-configs/40-delete-blocked-by-active-job")
            rows.remove(found)
            return self._recorded("lora-configs/44-delete")
        return 200, found, {}

    def _save_config(self, known: dict[str, Any], *, status: int) -> tuple[int, Any, dict[str, str]]:
        rows, sent = self.server.api.configs, self.sent or {}
        if isinstance(sent.get("epochs"), int) and sent["epochs"] < 1:
            return self._recorded("lora-configs/07-create-bad-epochs-0")
        others = [row for row in rows if row is not known]
        if any(row["name"] == sent.get("name") for row in others):
            return self._recorded("lora-configs/04-create-duplicate-409")
        saved = {**known, **sent}
        if status == 201:
            saved["id"] = f"cfg_{len(rows):04d}"
        if saved.get("isDefault"):
            others = [{**row, "isDefault": False} for row in others]
        rows[:] = [*others, saved]
        return status, saved, {}

    def _one(self, rows: list[dict[str, Any]], wanted: str, missing: str) -> tuple[int, Any, dict[str, str]]:
        found = next((row for row in rows if row["id"] == wanted), None)
        return (200, found, {}) if found else self._recorded(missing)

    def _paged(self, rows: list[Any], query: dict[str, str]) -> list[Any]:
        skip = int(query.get("skip", "0"))
        return rows[skip : skip + int(query.get("take", "20"))]

    def _recorded(self, name: str) -> tuple[int, Any, dict[str, str]]:
        response = recorded(name)["response"]
        return response["status"], response["body"], {}
