"""The ASGI app that ``streamlit run Home.py`` starts: our routes beside Streamlit's, and a warm start.

It is not a page: Streamlit runs ``lib/app.py`` for every visitor, so that even the first deep link passes its guard.
"""

import contextlib
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator

import streamlit as st
from starlette.middleware import Middleware

from lib import services
from lib.errors import DashboardError
from lib.web.access import Guard, refuse_unsafe_start, sign_in_secrets
from lib.web.frontend import Frontend
from lib.web.garbage import keep_collections_short
from lib.web.identity import current_visitor
from lib.web.routes import ROUTES
from lib.web.starting import Starting

ready = threading.Event()


def warm_up() -> None:
    """Import what every page needs before the first visitor, then take it out of the garbage collector's way.

    Streamlit collects after every run; with pandas imported that costs 75 ms of CPU, frozen 5 ms.
    """
    try:
        import pandas
        import pyarrow

        _ = (pandas, pyarrow)
        # Imports what this source needs and prepares the first start; its error is shown on every page until it is
        # mended.
        with contextlib.suppress(DashboardError):
            services.source()
        gc.collect()
        gc.freeze()
    finally:
        ready.set()


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Answer at once, for the very first import, which makes byte code, takes seconds."""
    stopped = threading.Event()
    threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
    threading.Thread(target=keep_collections_short, args=(stopped,), name="garbage", daemon=True).start()
    yield
    stopped.set()


refuse_unsafe_start()
# A page's script hands over every element with a system call, and may then wait for its turn as long as each other
# script runs: with 60 viewers of a job, ticks took three times as long at Python's usual 5 ms.
sys.setswitchinterval(0.001)
os.umask(0o077)  # what is written from now on is for this account only
services.identify_with(current_visitor)
app = st.App(
    "lib/app.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=[Middleware(Guard), Middleware(Starting, ready=ready), Middleware(Frontend)],
    secrets=sign_in_secrets(),
)
