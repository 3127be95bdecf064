"""A command line of a terminal as a job: real supervisors, and the worker in this process."""

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lib.embedded.files.attempt_folder import AttemptFolder
from lib.embedded.worker.limits import WorkerLimits
from lib.embedded.worker.terminal_run import TerminalRun
from lib.embedded.worker.worker import Worker
from lib.errors import InvalidRequest
from lib.jobs.command_line import Told, told_by
from lib.jobs.job import Job, JobStatus, Origin, RunPlace
from lib.jobs.training_settings import TrainingSettings
from lib.sources.embedded.source import EmbeddedSource
from tests.contract.houses import IdleLauncher
from tests.embedded.scripted import TRAIN, script_argv
from tests.reaper import kill_all, working_on
from tests.waiting import wait_for


class Terminal:
    """A data folder, a worker that is stepped by hand, and what a terminal shows."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "out"
        self.data = folder / "data"
        self.source = EmbeddedSource(self.data, launcher=IdleLauncher(self.data))
        self.worker = Worker(self.data, recipes={}, limits=WorkerLimits(write_every_s=0.0))
        self.run = TerminalRun(self.data, self.source.store, self.source.start_worker)
        self.shown = io.BytesIO()

    def type(self, script: str, *more: str) -> tuple[AttemptFolder, str]:
        argv = [*script_argv(script, self.output), *more]
        folder = self.run.start(argv, "mine", RunPlace(output=str(self.output)))
        return folder, folder.path.parent.name

    def step(self, job_id: str, condition: Callable[[Job], object]) -> Job:
        def is_so() -> object:
            self.worker.tick()
            return condition(self.source.get_job(job_id))

        wait_for(is_so, lambda: f"not as wanted: {self.source.get_job(job_id)}")
        return self.source.get_job(job_id)

    def close(self) -> None:
        self.worker.close()
        self.source.close()
        kill_all(lambda: working_on(self.data))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with closing(Terminal(tmp_path)) as built:
        yield built


def test_a_command_is_a_job_and_shows_its_output(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-the-terminal")
    script = f"OUTPUT.mkdir()\nprint(os.environ['AWS_PROFILE'])\n{TRAIN}\nprint(os.getcwd())"
    folder, job_id = terminal.type(script, "--wandb_api_key=s3cr3t-word", "--token", "s3cr3t-word")
    assert terminal.run.show(folder, terminal.shown) == 0
    job = terminal.step(job_id, lambda now: now.status.is_terminal)
    assert (job.name, job.status, job.origin, job.trainer) == ("mine", JobStatus.SUCCEEDED, Origin.TERMINAL, "terminal")
    assert {file.name for file in job.artifacts} == {"lora.safetensors", "lora-000001.safetensors"}
    assert terminal.source.locate_artifact(job_id, "1/lora.safetensors").path == terminal.output / "lora.safetensors"
    shown = terminal.shown.getvalue()
    assert shown == terminal.source.read_log(job_id, attempt=1, offset=0).data
    assert shown.startswith(b"of-the-terminal\n")
    assert shown.endswith(f"{Path.cwd()}\n".encode())
    assert job.command[0] == sys.executable
    assert job.command[-3:] == ("--wandb_api_key=(not shown)", "--token", "(not shown)")
    kept = b"".join(path.read_bytes() for path in terminal.data.rglob("*") if path.is_file())
    assert b"s3cr3t-word" not in kept
    with pytest.raises(InvalidRequest):
        terminal.source.retry_job(job_id)
    terminal.source.delete_job(job_id)
    assert (terminal.output / "lora.safetensors").exists()


@pytest.mark.parametrize(
    ("script", "code", "cause"),
    [("sys.exit(3)", 3, "unknown"), ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed")],
)
def test_the_exit_code_is_passed_through(terminal: Terminal, script: str, code: int, cause: str) -> None:
    folder, job_id = terminal.type(script)
    assert terminal.run.show(folder, terminal.shown) == code
    job = terminal.step(job_id, lambda now: now.status.is_terminal)
    assert (job.status, job.failure and job.failure.cause) == (JobStatus.FAILED, cause)


def test_a_command_that_is_not_there(terminal: Terminal) -> None:
    folder = terminal.run.start(["/nowhere/train"], "mine", RunPlace())
    assert terminal.run.show(folder, terminal.shown) == 127
    assert terminal.shown.getvalue() == b"/nowhere/train: No such file or directory\n"


def test_ctrl_c_reaches_the_trainer_and_the_job_is_cancelled(terminal: Terminal) -> None:
    script = """
try:
    print("ready", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("saved before the end", flush=True)
    sys.exit(5)
"""
    folder, job_id = terminal.type(script)

    def press() -> None:
        wait_for(lambda: b"ready" in terminal.shown.getvalue(), "it does not begin")
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    assert terminal.run.show(folder, terminal.shown) == 5
    assert terminal.shown.getvalue().endswith(b"saved before the end\n")
    job = terminal.step(job_id, lambda now: now.status.is_terminal)
    assert (job.status, job.failure) == (JobStatus.CANCELLED, None)


def test_it_is_cancelled_from_the_page_and_takes_a_place_in_the_queue(terminal: Terminal) -> None:
    folder, job_id = terminal.type("print('ready', flush=True)\ntime.sleep(600)")
    terminal.step(job_id, lambda now: now.progress.stage)
    assert terminal.worker._room(TrainingSettings()) is None
    terminal.source.cancel_job(job_id)
    assert terminal.run.show(folder, terminal.shown) == 128 + signal.SIGINT
    assert terminal.step(job_id, lambda now: now.status.is_terminal).status is JobStatus.CANCELLED


FILES = {
    "a.toml": '[saving]\noutput_dir = "from/file"\noutput_name = "fox"\n',
    "c.yml": 'config:\n  name: "owl"\n  process:\n    - training_folder: "output"\n      name: x\n',
    "o.json": '{"workspace_dir": "work"}',
    "broken.toml": "= [",
}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "accelerate launch --num_processes=1 train_network.py --output_dir=out --output_name aria --logging_dir=l",
            Told(title="train_network.py aria", output="out", events="l", stem="aria"),
        ),
        ("train --output-dir out --output_name --x", Told(title="train", output="out")),
        (
            "python /a/train_network.py --config_file=a.toml",
            Told(title="train_network.py fox", output="from/file", stem="fox"),
        ),
        ("python t.py --config_file a.toml --output_dir=mine", Told(title="t.py fox", output="mine", stem="fox")),
        ("python run.py c.yml", Told(title="run.py", output="output/owl")),
        ("python scripts/train.py --config-path=o.json", Told(title="train.py", output="work")),
        ("deepspeed train.py --config broken.toml", Told(title="train.py")),
    ],
)
def test_what_a_command_line_tells(command: str, told: Told) -> None:
    assert told_by(command.split(), lambda path: FILES.get(path, "")) == told


@pytest.mark.slow
def test_it_needs_no_terminal_and_outlives_who_reads_its_output(tmp_path: Path) -> None:
    """As a service or a job of cron runs it: standard streams closed, and a reader that goes."""
    script = "print('seen', flush=True); import time; [print('x' * 9_999) for _ in range(99)]; raise SystemExit(3)"
    run = f"{sys.executable} -m lib.run -- {sys.executable} -c {shlex.quote(script)}"
    try:
        for number, shell in enumerate((f"{run} <&- >&- 2>&-", f"set -o pipefail; {run} </dev/null | head -n 1")):
            data = tmp_path / str(number)
            done = subprocess.run(
                ["bash", "-c", shell],
                env={**os.environ, "LORA_DATA_DIR": str(data)},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (3, "")
            assert next(data.glob("jobs/*/1/log")).stat().st_size > 990_000
        assert done.stdout == "seen\n"
    finally:
        kill_all(lambda: working_on(tmp_path))
