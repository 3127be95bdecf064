"""A run that is killed leaves no process behind, detached ones and xdist's workers included."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lib.settings import ROOT
from tests.abandoned_run import STARTED
from tests.reaper import living
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("arguments", "started"),
    [(["-n", "2", "--dist", "load"], ["server", "worker"]), (["-n", "0", "-k", "worker"], ["worker"])],
    ids=["with workers", "in one process"],
)
def test_a_killed_run_leaves_nothing_behind(arguments: list[str], started: list[str], tmp_path: Path) -> None:
    def of_the_run() -> list[psutil.Process]:
        return living(lambda process: process.environ().get(STARTED) == str(tmp_path))

    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, "tests/abandoned_run.py"]
    with (tmp_path / "output").open("wb") as output:
        run = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, STARTED: str(tmp_path)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: all((tmp_path / name).exists() for name in started) or run.poll() is not None, "nothing runs")
        assert run.poll() is None, (tmp_path / "output").read_text()
        commands = " ".join(" ".join(process.cmdline()) for process in of_the_run())
        assert all(part in commands for part in ("worker.worker", "worker.supervisor", "trainer.py"))
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not of_the_run(), "processes are left")
