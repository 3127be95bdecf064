"""A stand-in for a Ray cluster: its Jobs API over real HTTP, with real runners, and what was seen of its losses.

For drills where the real one is too heavy. What it does is recorded in ``tests/recordings/ray``: a job whose driver was
killed is FAILED with -9, one whose node died with JOB_SUPERVISOR_ACTOR_DIED; a head without storage forgets all jobs.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import RLock, Thread
from typing import Any

from lib.ray_settings import RaySettings
from tests.embedded.ray.fake_ray import recorded
from tests.ports import lasting_port
from tests.reaper import kill_all, living

CLUSTER = "TEST_CLUSTER"
NODE = {"node_id": "n1", "node_ip": "192.0.2.2", "is_head_node": False, "state": "ALIVE"}
_BECAUSE_OF = {"node": "node-died-get", "driver": "series-driver-killed"}


@dataclass
class _Driver:
    """A job; ``body`` is what GET answers once it is over."""

    submission: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    body: dict[str, Any] | None = None
    stopped_at: float | None = None
    is_gone: bool = False  # with its node, which Ray notices later


class StandIn:
    """The cluster; as ``RealCluster`` for a drill."""

    def __init__(self, folder: Path, *, node_dead_s: float = 8.0) -> None:
        self._folder, self._node_dead_s = folder, node_dead_s
        (folder / "jobs").mkdir(parents=True)
        self._port = lasting_port()
        self._jobs: dict[str, _Driver] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._packages: dict[str, bytes] = {}
        self._cpus, self._lock = 0, RLock()
        self._server: ThreadingHTTPServer | None = None
        self.settings = RaySettings(address=f"http://127.0.0.1:{self._port}", trainers={"tiny": sys.executable})

    def start_head(self) -> None:
        """Answer, and know nothing."""
        self._jobs, self._packages = {}, {}
        self._server = _listening(self._port, self._answer)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def start_node(self, *, cpus: int = 4) -> None:
        """Have room."""
        self._cpus = cpus

    def kill(self, part: str) -> None:
        """As a power cut would."""
        self._cpus = 0
        if part == "head" and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            return
        with self._lock:
            running = [each for each in self._jobs.values() if self._state(each)["status"] == "RUNNING"]
            for each in running:
                each.is_gone = True
        kill_all(lambda: living(self._is_ours), quiet_s=0.2)
        time.sleep(self._node_dead_s if self._server is not None else 0)
        for each in running:
            each.body = self._recorded("node")

    def close(self) -> None:
        """End all of it."""
        if self._server is not None:
            self.kill("head")
        kill_all(lambda: living(self._is_ours), quiet_s=0.2)
        for process in self._processes:
            process.wait()

    def _is_ours(self, process: Any) -> bool:
        return process.environ().get(CLUSTER) == str(self._folder)

    def _recorded(self, what: str) -> dict[str, Any]:
        body: dict[str, Any] = dict(recorded(_BECAUSE_OF[what])["response"]["body"])
        return body

    def _answer(self, method: str, path: str, data: bytes) -> tuple[int, object]:
        parts = path.partition("?")[0].strip("/").split("/")
        with self._lock:
            match (method, parts):
                case "GET", ["api", "cluster_status"]:
                    usage = {"n1": {"CPU": [float(self._used()), float(self._cpus)]}}
                    return 200, {"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": usage}}}}
                case "GET", ["api", "v0", "nodes"]:
                    node = {**NODE, "resources_total": {"CPU": float(self._cpus), "memory": 8e9}}
                    return 200, {"data": {"result": {"result": [node] if self._cpus else []}}}
                case "PUT", ["api", "packages", "gcs", name]:
                    self._packages[name] = data
                    return 200, ""
                case "GET", ["api", "packages", "gcs", name]:
                    return (200, "") if name in self._packages else (404, "")
                case "POST", ["api", "jobs"]:
                    return self._submit(json.loads(data))
                case "GET", ["api", "jobs", name] if name in self._jobs:
                    return 200, self._state(self._jobs[name])
                case "POST", ["api", "jobs", name, "stop"] if name in self._jobs:
                    return 200, {"stopped": self._stop(self._jobs[name])}
                case "DELETE", ["api", "jobs", name] if name in self._jobs:
                    del self._jobs[name]
                    return 200, {"deleted": True}
        return 404, f"Job {parts[-1]} does not exist"

    def _used(self) -> int:
        return sum(1 for each in self._jobs.values() if self._state(each)["status"] == "RUNNING")

    def _submit(self, asked: dict[str, Any]) -> tuple[int, object]:
        name = asked["submission_id"]
        if name in self._jobs:
            return 500, f"Job with submission_id {name} already exists. Please use a different submission_id."
        driver = self._jobs[name] = _Driver(submission=asked)
        if self._cpus:
            self._start(driver)
        return 200, {"job_id": name, "submission_id": name}

    def _start(self, driver: _Driver) -> None:
        asked = driver.submission
        place = self._folder / "jobs" / asked["submission_id"]
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        package = asked["runtime_env"]["working_dir"].removeprefix("gcs://")
        with zipfile.ZipFile(io.BytesIO(self._packages[package])) as archive:
            archive.extractall(place)
        environ = {**os.environ, **asked["runtime_env"]["env_vars"]}
        environ |= {CLUSTER: str(self._folder), "LORA_NODE_DIR": str(self._folder / "node")}
        with (place / "driver.log").open("wb") as log:
            driver.process = subprocess.Popen(
                ["/bin/sh", "-c", asked["entrypoint"]],
                cwd=place,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(driver.process)

    def _state(self, driver: _Driver) -> dict[str, Any]:
        if driver.process is None and self._cpus and driver.body is None:
            self._start(driver)
        is_running = driver.body is None and driver.process is not None and not driver.is_gone
        if is_running and driver.process is not None and (code := driver.process.poll()) is not None:
            # All that a driver started is in its process group, which Ray ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.process.pid, signal.SIGKILL)
            said = (self._folder / "jobs" / driver.submission["submission_id"] / "driver.log").read_text()
            driver.body = {
                **self._recorded("driver"),
                "status": "STOPPED" if driver.stopped_at else "FAILED" if code else "SUCCEEDED",
                "driver_exit_code": None if driver.stopped_at else code,
                "message": f"Job entrypoint command failed with exit code {code}\n{said}",
            }
        if driver.body is not None:
            return driver.body
        return {"status": "PENDING" if driver.process is None else "RUNNING"}

    def _stop(self, driver: _Driver) -> bool:
        if driver.process is None or driver.process.poll() is not None:
            return False
        driver.stopped_at = driver.stopped_at or time.monotonic()
        os.killpg(driver.process.pid, signal.SIGTERM)
        return True


def _listening(port: int, answer: Callable[[str, str, bytes], tuple[int, object]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, found = answer(self.command, self.path, body)
            data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    ThreadingHTTPServer.allow_reuse_address = True
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
