"""Ray's Jobs API as it really answers: recorded answers of a local server."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from lib.embedded.ray.client import RayClient, Submission
from lib.errors import AccessDenied, BadPayload, InvalidRequest, SourceError, SourceUnavailable
from lib.ray_settings import RaySettings
from tests.embedded.ray.fake_ray import recorded

TOKEN = "t0ken-that-must-not-show"
JOB = Submission(id="lora-1-a1", entrypoint="true", needs={"CPU": 1.0, "GPU": 2.0, "memory": 1e9, "A100": 1.0})


class Played:
    """A server that gives one answer per path, after ``before``, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.before: Callable[[], object] = lambda: None
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                played.seen.append((self.command, self.path, dict(self.headers), body))
                played.before()
                path = self.path.split("?")[0]
                status, kind, data = played.answers.get(path) or played.answers.get("*") or (404, "text/plain", b"")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.client = RayClient(RaySettings(address=f"http://127.0.0.1:{self.server.server_port}", token=TOKEN))

    def play(self, path: str, name: str) -> None:
        """Answer as recorded."""
        answer = recorded(name)["response"]
        text = json.dumps(answer["body"]) if answer["body"] is not None else answer["raw_body"] or ""
        self.answers[path] = (answer["status"], "application/json", text.encode())

    def close(self) -> None:
        self.client.close()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def played() -> Iterator[Played]:
    built = Played()
    yield built
    built.close()


def test_a_job_is_submitted_looked_at_stopped_and_unknown(played: Played) -> None:
    played.play("/api/packages/gcs/runner.zip", "get-missing")
    with pytest.raises(BadPayload):  # the PUT answers 404 here, too
        played.client.send_package("runner.zip", b"zip")
    assert [seen[0] for seen in played.seen] == ["GET", "PUT"]
    played.play("/api/packages/gcs/runner.zip", "get-present")
    played.client.send_package("runner.zip", b"zip")
    played.play("/api/jobs/", "submit-ok")
    played.client.submit(JOB)
    assert json.loads(played.seen[-1][3]) == {
        "entrypoint": "true",
        "submission_id": "lora-1-a1",
        "runtime_env": {"env_vars": {}},
        "entrypoint_num_cpus": 1.0,
        "entrypoint_num_gpus": 2.0,
        "entrypoint_memory": 1_000_000_000,
        "entrypoint_resources": {"A100": 1.0},
    }
    assert played.seen[-1][2]["Authorization"] == f"Bearer {TOKEN}"
    played.play("/api/jobs/", "submit-same-id-again")
    played.client.submit(JOB)  # already there
    played.play("/api/jobs/", "bad-unknown-key")
    with pytest.raises(InvalidRequest, match="refused the job"):
        played.client.submit(JOB)
    played.play("/api/jobs/a", "get-succeeded")
    job = played.client.job("a")
    assert job is not None
    assert (job.is_over, job.exit_code, job.first_line) == (True, 0, "Job finished successfully")
    played.play("/api/jobs/b", "get-unknown")
    assert played.client.job("b") is None
    played.play("/api/jobs/b/stop", "stop-unknown")
    played.client.stop("b")
    played.play("/api/version", "version")
    assert played.client.version() == "2.60.0"


def test_nodes_are_read_with_what_is_free_on_them(played: Played) -> None:
    played.play("/api/cluster_status", "cluster-status-gpu-in-use")
    played.play("/api/v0/nodes", "v0-nodes-detail")
    played.play("/nodes", "nodes-summary-gpu-in-use")
    plain, loaded = played.client.cluster(), played.client.cluster(with_load=True)
    assert [node.is_head for node in plain.nodes] == [True, False]
    assert (plain.total("CPU"), plain.total("GPU"), plain.nodes[0].cpu_load) == (4.0, 2.0, None)
    assert (loaded.nodes[0].name, loaded.nodes[0].cpu_load) == ("vm", 1.0)
    assert loaded.nodes[0].memory_bytes == 25276063744
    assert not any(name.startswith(("node:", "object")) for name in plain.nodes[0].total)
    played.play("/api/v0/nodes", "v0-nodes-after-node-death")
    assert [node.is_head for node in played.client.cluster().nodes] == [True]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((401, "text/plain", b"Unauthorized: Missing authentication token"), AccessDenied, "refused the token"),
        ((403, "text/plain", b"Forbidden: Invalid authentication token"), AccessDenied, "refused the token"),
        ((200, "text/html", b"<html>a wiki</html>"), BadPayload, "not Ray's Jobs API"),
        ((404, "text/plain", b"404: Not Found"), BadPayload, "not Ray's Jobs API"),
        ((200, "application/json", b'{"status": "RUNN'), BadPayload, "not Ray's Jobs API"),
        ((200, "application/json", b"[]"), BadPayload, "not Ray's Jobs API"),
        ((200, "application/json", b"{}"), BadPayload, "not Ray's Jobs API"),
        ((302, "text/html", b"sign in"), SourceUnavailable, "answered with an error"),
        ((502, "text/html", b"<html>\n<h1>Bad Gateway</h1>\n</html>"), SourceUnavailable, "with an error: HTTP 502"),
        (
            (500, "text/plain", b"Server Error\n\nServer got itself in trouble"),
            SourceUnavailable,
            "trouble",
        ),
        ((500, "text/plain", f"Authorization: Bearer {TOKEN}".encode()), SourceUnavailable, r"Bearer \(token\)"),
    ],
)
def test_wrong_answers_are_told_in_words(
    played: Played, answer: tuple[int, str, bytes], error: type[SourceError], words: str
) -> None:
    played.answers["*"] = answer
    for ask in (lambda: played.client.job("a"), played.client.cluster):
        with pytest.raises(error, match=words) as caught:
            ask()
        assert caught.value.hint
        assert TOKEN not in str(caught.value) + caught.value.hint


def test_a_cluster_that_wants_a_token_where_none_is_set_says_so(played: Played) -> None:
    played.play("*", "no-token-api-jobs-")
    client = RayClient(RaySettings(address=f"http://127.0.0.1:{played.server.server_port}"))
    with pytest.raises(AccessDenied, match="asks for a token, and none is set here") as caught:
        client.job("a")
    assert "RAY_AUTH_TOKEN" in caught.value.hint
    client.close()


def test_an_answer_that_is_deep_or_large_is_not_taken_in(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.embedded.ray.client.MOST_ANSWER_BYTES", 2_000_000)
    for answer in (b"[" * 200_000, b'{"a": ' * 200_000, b'{"status": "' + b"x" * 2_000_000 + b'"}'):
        played.answers["*"] = (200, "application/json", answer)
        for ask in (lambda: played.client.job("a"), played.client.cluster):
            with pytest.raises(BadPayload):
                ask()


@pytest.mark.parametrize("begun", [b"", b"X-Long: ", b"Content-Length: 1000\r\n\r\n"])
def test_an_answer_that_drips_ends_with_the_time_for_it(begun: bytes) -> None:
    asked, is_done = Event(), Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(10_000)
            asked.set()
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + begun)
            while not is_done.wait(0.02):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as server:
        client = RayClient(RaySettings(address=f"http://127.0.0.1:{server.getsockname()[1]}"), timeout_s=0.3)
        thread = Thread(target=lambda: drip(server.accept()[0]), daemon=True)
        thread.start()
        with pytest.raises(SourceUnavailable, match="took too long"):
            client.version()
        is_done.set()
        thread.join()
        client.close()
    assert asked.is_set()


@pytest.mark.parametrize("rest", [b"", b'{"ray_ver', b'{"ray_version": "2"}'])
def test_an_answer_that_ends_half_way_is_no_answer(rest: bytes) -> None:
    def begin(connection: socket.socket) -> None:
        with connection:
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + rest)

    with socket.create_server(("127.0.0.1", 0)) as server:
        client = RayClient(RaySettings(address=f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread = Thread(target=lambda: begin(server.accept()[0]), daemon=True)
        thread.start()
        with pytest.raises(SourceUnavailable, match="does not answer"):
            client.version()
        thread.join()
        client.close()


ODD_PARTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("/nodes", {"mem": [1]}),
    ("/nodes", {"mem": ["x", 1, 1, {}]}),
    ("/nodes", {"mem": [10**400, 1, 1, 1]}),
    ("/nodes", {"cpu": float("nan")}),
    ("/nodes", {"gpus": [{"memoryUsed": float("inf")}]}),
    ("/api/v0/nodes", {"resources_total": {"CPU": float("inf"), "memory": float("nan")}}),
    ("/api/v0/nodes", {"resources_total": ["CPU"]}),
    ("/api/cluster_status", {"CPU": []}),
)


def test_nodes_with_odd_numbers_are_no_answer_of_rays(played: Played) -> None:
    given = {"node_id": "a", "node_ip": "1", "state": "ALIVE", "resources_total": {"CPU": 1}}
    for name, part in (("", {}), *ODD_PARTS):
        node = {**given, **(part if name == "/api/v0/nodes" else {})}
        summary = {"raylet": {"nodeId": "a"}, "now": 1, **(part if name == "/nodes" else {})}
        usage = {"a": part if name == "/api/cluster_status" else {}}
        for path, body in {
            "/api/cluster_status": {"clusterStatus": {"loadMetricsReport": {"usageByNode": usage}}},
            "/api/v0/nodes": {"result": {"result": [node]}},
            "/nodes": {"summary": [summary]},
        }.items():
            played.answers[path] = (200, "application/json", json.dumps({"data": body}).encode())
        if not name:
            assert played.client.cluster(with_load=True).total("CPU") == 1
            continue
        with pytest.raises(BadPayload):
            played.client.cluster(with_load=True)


def test_nobody_there_is_told_in_words(played: Played) -> None:
    client = RayClient(RaySettings(address="http://127.0.0.1:9"))
    with pytest.raises(SourceUnavailable, match=r"127.0.0.1:9 does not answer \(no connection\)"):
        client.version()
    client.close()
