"""The runner as Ray starts it: a process that knows the attempt's folder and nothing of the dashboard."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder, RunSpec
from lib.embedded.ray import runner
from lib.embedded.worker.processes import find_marked
from tests.embedded.ray.link_store import LinkStore
from tests.reaper import kill_all, working_on
from tests.waiting import PATIENCE_S, wait_for

pytestmark = pytest.mark.slow
# What the runner kills carries it: tests of other runs on this machine must not.
MARK = f"job-{uuid4().hex[:12]}/1"
READY = "import signal, sys, time; print('ready', flush=True); "


class Node:
    """An attempt's folder, and the runner in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.attempt = AttemptFolder.of(folder / "data", "job", 1)
        (folder / "data").mkdir()
        self.attempt.make()
        self.package = folder / "package"
        self.package.mkdir()
        for name in ("runner.py", "node_store.py", "node_sender.py"):
            shutil.copy(Path(runner.__file__).with_name(name), self.package)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, script: str, **spec: object) -> subprocess.Popen[bytes]:
        """A runner with a trainer of a few lines."""
        argv = (sys.executable, "-S", "-c", READY + script)
        self.attempt.write_spec(RunSpec(**{"argv": argv, "cwd": runner.PACKAGE, "stop_grace_s": 2.0, **spec}))
        return self.start_again()

    def start_again(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "runner.py", str(self.attempt.path), "lora-job-a1", MARK]
        found = subprocess.Popen(words, cwd=self.package, start_new_session=True, stdout=subprocess.PIPE)
        self.processes.append(found)
        return found

    def wait_until_ready(self) -> None:
        wait_for(lambda: b"ready" in self.attempt.read_log(0, 100), "the trainer says nothing")

    def close(self) -> None:
        kill_all(lambda: working_on(self.root))
        for process in self.processes:
            process.communicate()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with closing(Node(tmp_path)) as built:
        yield built


def test_the_end_of_the_trainer_is_recorded_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the cluster")
    names = "'PLACE', 'LORA_ATTEMPT', 'RAY_AUTH_TOKEN'"
    script = f"import os; print(os.getcwd(), *map(os.environ.get, ({names}))); sys.exit(3)"
    assert node.start(script, environ={"PLACE": f"{runner.PACKAGE}/x"}).wait() == 3
    ended = node.attempt.read_exit()
    assert ended is not None
    assert (ended.exit_code, ended.cancelled, ended.timed_out, ended.start_error) == (3, False, False, "")
    assert node.attempt.log.read_text().split() == ["ready", str(node.package), f"{node.package}/x", MARK, "None"]
    assert json.loads((node.attempt.path / runner.TAKEN).read_text())["submission"] == "lora-job-a1"
    assert node.start_again().wait() == runner.ALREADY_RUN
    assert node.attempt.read_exit() == ended


def test_rays_stop_lets_the_trainer_save_and_is_a_cancellation(node: Node) -> None:
    script = "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(0))); time.sleep(600)"
    process = node.start(script)
    node.wait_until_ready()
    wait_for(lambda: len(find_marked(MARK)) == 1, "there is no trainer")
    (trainer,) = find_marked(MARK)
    node.attempt.request_cancel()
    for pid in (process.pid, trainer):  # as Ray does: all at once
        subprocess.run(["kill", "-TERM", str(pid)], check=True)
    process.wait()
    ended = node.attempt.read_exit()
    assert ended is not None
    assert (ended.exit_code, ended.cancelled) == (0, True)
    assert b"saved" in node.attempt.log_end(100)


def test_a_trainer_that_does_not_stop_is_killed_before_ray_would(node: Node) -> None:
    script = "import subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    script += "subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    process = node.start(script, stop_grace_s=0.5)
    node.wait_until_ready()
    wait_for(lambda: len(find_marked(MARK)) == 2, "there is no child")
    process.send_signal(signal.SIGTERM)
    process.wait()
    ended = node.attempt.read_exit()
    assert ended is not None
    assert (ended.exit_code, ended.cancelled) == (-9, True)
    assert find_marked(MARK) == []


def test_the_time_limit_and_a_step_that_fails_end_it(node: Node) -> None:
    fails = (sys.executable, "-S", "-c", "import sys; sys.exit(5)")
    assert node.start("", before=(fails,)).wait() == 5
    assert b"Step 1 of 2" in node.attempt.log_end(100)
    assert b"ready" not in node.attempt.log_end(100)
    shutil.rmtree(node.attempt.path)
    node.attempt.make()
    node.start("time.sleep(600)", time_limit_s=0.5).wait()
    ended = node.attempt.read_exit()
    assert ended is not None
    assert (ended.exit_code, ended.timed_out, ended.cancelled) == (-15, True, False)


def test_a_node_without_the_folder_or_the_trainer_says_so(node: Node) -> None:
    node.attempt.path.rename(node.root / "away")
    process = node.start_again()
    assert process.wait() == runner.FOLDER_MISSING
    (node.root / "away").rename(node.attempt.path)
    assert node.start("", argv=("/no/such/python",)).wait() == 127
    ended = node.attempt.read_exit()
    assert ended is not None
    assert "/no/such/python: No such file" in ended.start_error


def test_an_end_is_recorded_once_the_folder_is_back_and_given_up_when_ray_waits_no_longer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"import os; from pathlib import Path; os.rename({str(node.attempt.path)!r}, 'away'); sys.exit(3)"
    process = node.start(script)
    away = node.package / "away"
    wait_for(away.exists, "the folder is there")
    wait_for(lambda: not find_marked(MARK), "the trainer is there")
    away.rename(node.attempt.path)
    assert process.wait() == 3
    ended = node.attempt.read_exit()
    assert ended is not None
    assert ended.exit_code == 3
    shutil.rmtree(node.attempt.path)
    node.attempt.make()
    monkeypatch.setenv(runner.STOP_WAIT, "3")
    process = node.start(script)
    wait_for(away.exists, "the folder is there")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == runner.NOT_WRITABLE
    assert process.stdout is not None
    assert (
        process.stdout.read()
        .decode()
        .strip()
        .endswith(f"{node.attempt.path} cannot be written: No such file or directory")
    )


@pytest.mark.parametrize("status", [403, 503])
def test_a_node_that_gets_nothing_from_the_store_says_why_and_ends_when_it_is_told(
    node: Node, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked = threading.Event()
    with closing(LinkStore()) as store:
        store.answer = lambda _: asked.set() or status
        monkeypatch.setenv(runner.TICKET, store.link("/secret"))
        process = node.start_again()
        assert asked.wait(PATIENCE_S)
        if status == 503:  # which passes: it waits
            process.send_signal(signal.SIGTERM)
        assert process.wait() == runner.NOT_FETCHED
    assert process.stdout is not None
    said = process.stdout.read()
    words = {403: "the store refused a link (403)", 503: "the store failed (503)"}
    assert said.decode().strip().endswith(words[status])
    assert b"secret" not in said
