"""A dashboard over one running job with a long log, which counts its own ticks for ``bench_monitor``."""

import contextlib
import gc
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import streamlit as st
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner

from lib import services
from lib.jobs.job import LossPoint
from lib.sources.memory import MemorySource
from lib.ui.monitor import poll_interval
from lib.web.garbage import keep_collections_short
from lib.web.routes import ROUTES
from tests.monitor_jobs import fill, log_lines

POLL_MS = int(os.environ["BENCH_POLL_MS"])
poll_interval.POLL_MS = POLL_MS
source = MemorySource()
fill(source, datetime.now(UTC), Path(os.environ["LORA_DATA_DIR"]))
source.logs["run", 1] = log_lines(0, 10_000)
wall_ms: deque[float] = deque(maxlen=20_000)
cpu_ms: deque[float] = deque(maxlen=20_000)
ticks = 0
run_script = ScriptRunner._run_script


def counted(self: ScriptRunner, rerun_data: Any) -> None:
    """A run of the script; those of fragments are ticks."""
    global ticks
    begun, cpu = time.perf_counter(), time.thread_time()
    run_script(self, rerun_data)
    if rerun_data.fragment_id_queue:
        wall_ms.append((time.perf_counter() - begun) * 1_000)
        cpu_ms.append((time.thread_time() - cpu) * 1_000)
        ticks += 1


def train() -> None:
    """A step, a loss and a line of log in half a second of the job's time, however fast the ticks are."""
    number = 10_000
    while True:
        time.sleep(0.5 * POLL_MS / 2_000)
        number += 1
        source.logs["run", 1] += f"line {number} printed at {time.time():.3f}, avr_loss=0.0812\n".encode()
        loss = LossPoint(step=number - 9_400, loss=0.08 + number % 7 / 500, at=time.time())
        source.losses["run", 1] = [*source.losses["run", 1], loss]
        job = source.jobs["run"]
        progress = replace(job.progress, step=number - 9_000, fraction=min(1.0, number / 30_000))
        source.add(replace(job, progress=progress, last_output_at=datetime.now(UTC)))


async def counters(_request: Request) -> JSONResponse:
    return JSONResponse(
        {"ticks": ticks, "tick_wall_ms": list(wall_ms), "tick_cpu_ms": list(cpu_ms), "reads": source.calls["get_job"]}
    )


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """What ``Home.py`` does, with the source in memory."""
    import altair
    import boto3
    import pandas
    import pyarrow

    _ = (altair, boto3, pandas, pyarrow)
    services.connect(source)
    ScriptRunner._run_script = counted  # type: ignore[method-assign]
    threading.Thread(target=train, daemon=True).start()
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()
    stopped = threading.Event()
    threading.Thread(target=keep_collections_short, args=(stopped,), daemon=True).start()
    yield
    stopped.set()


app = st.App("../../lib/app.py", lifespan=lifespan, routes=[*ROUTES, Route("/counters", counters)])
