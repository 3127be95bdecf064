"""A real Ray cluster on this machine: a head that runs nothing, and a node that jobs run on."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests

from lib.embedded.ray.client import RayClient
from lib.ray_settings import RaySettings
from tests.ports import lasting_port
from tests.reaper import kill_all, living
from tests.waiting import wait_for

RAY = Path(sys.executable).with_name("ray")
TRIES = 4
# Set for all that a part of the cluster starts, also the jobs; other runs on this machine have clusters of their own.
PART, CLUSTER = "TEST_CLUSTER_PART", "TEST_CLUSTER"
# A node that is gone is noticed sooner than usual.
_WATCHFUL = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "5"}
_COMMON = ("--object-store-memory", "80000000", "--disable-usage-stats", "--min-worker-port", "0")


class RealCluster:
    """Started once for all tests that need it, for that takes as long as most of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {name: lasting_port() for name in ("gcs", "dashboard", "client")}
        address = f"http://127.0.0.1:{self._ports['dashboard']}"
        self.settings = RaySettings(address=address, trainers={"tiny": sys.executable, "scripted": "same"})
        self.client = RayClient(self.settings)
        self._nodes = 0
        self.seconds: dict[str, float] = {}

    def start_head(self, **variables: str) -> None:
        """The head; it has no processors to give away."""
        began = time.monotonic()
        names = ("--port", "gcs"), ("--dashboard-port", "dashboard"), ("--ray-client-server-port", "client")
        ports = [word for option, name in names for word in (option, str(self._ports[name]))]
        words = ["--head", "--num-cpus=0", "--temp-dir", str(self._folder), *ports]
        self._start("head", words, variables)
        wait_for(self._answers, "the head does not answer", poll_s=0.2)
        self.seconds["head"] = time.monotonic() - began

    def start_node(self, name: str = "node", *, cpus: int = 2, gpus: int = 2) -> None:
        """A node, and wait until the head counts it."""
        began, before = time.monotonic(), self._node_ids()
        words = [f"--address=127.0.0.1:{self._ports['gcs']}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        self._start(name, words, {})
        wait_for(lambda: self._node_ids() - before, "the node does not appear", poll_s=0.2)
        self.seconds[name] = time.monotonic() - began

    def _node_ids(self) -> set[str]:
        """Of nodes that count as alive: a dead one does for a while."""
        return {node.id for node in self.client.cluster().nodes}

    def _start(self, part: str, words: list[str], variables: dict[str, str]) -> None:
        environ = {
            **os.environ,
            **_WATCHFUL,
            **variables,
            PART: part,
            CLUSTER: str(self._folder),
            "LORA_NODE_DIR": str(self._folder / "node"),
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }
        environ.pop("RAY_ADDRESS", None)
        command = [str(RAY), "start", *words, *_COMMON, "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
        for _ in range(TRIES):
            ran = subprocess.run(command, env=environ, capture_output=True, text=True)
            if ran.returncode == 0:
                return
            self.kill(part)  # on a busy machine its parts may not find each other in time
        raise AssertionError(ran.stdout + ran.stderr)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.settings.address}/api/version", timeout=5).ok
        except requests.RequestException:
            return False

    def kill(self, part: str) -> None:
        """As a power cut would: everything of it, trainers too."""
        kill_all(lambda: self.processes(part), quiet_s=0.3)

    def processes(self, part: str) -> list[psutil.Process]:
        """What runs of a part."""
        return living(lambda process: self._is_ours(process) and process.environ().get(PART) == part)

    def close(self) -> None:
        """End all of it."""
        self.client.close()
        kill_all(lambda: living(self._is_ours), quiet_s=0.3)

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get(CLUSTER) == str(self._folder)
