"""A run of pytest that never ends, for ``test_reaper.py``: a server, and a worker with its supervisor and trainer."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.browser.conftest import Dashboard, start_dashboard
from tests.embedded.worker.drill.processes import drill_request, living, make_dataset, open_source, wait_until

__all__ = ["start_dashboard"]
STARTED = "ABANDONED_RUN_STARTED"


def test_a_server(start_dashboard: Callable[..., Dashboard]) -> None:
    start_dashboard()
    say_and_wait("server")


def test_a_worker(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    with closing(open_source(tmp_path / "data")) as source:
        source.create_job(drill_request(tmp_path, "one", mode="wait"))
        wait_until(tmp_path / "data", lambda: living(tmp_path / "data", "trainer"), "no trainer started")
        say_and_wait("worker")


def say_and_wait(name: str) -> None:
    """Tell the other test that everything runs."""
    Path(os.environ[STARTED], name).touch()
    while True:
        time.sleep(1)
