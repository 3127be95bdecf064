"""The ASGI app that ``streamlit run Home.py`` starts: our routes beside Streamlit's, and a warm start.

It is not a page: Streamlit runs ``lib/app.py`` for every visitor, so that even the first deep link passes its guard.
"""

import contextlib
import gc
import os
from collections.abc import AsyncIterator

import streamlit as st
from starlette.middleware import Middleware

from lib import services
from lib.errors import DashboardError
from lib.web.access import Guard, refuse_unsafe_start, sign_in_secrets
from lib.web.frontend import Frontend
from lib.web.identity import current_visitor
from lib.web.routes import ROUTES


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Import what every page needs before the first visitor, then take it out of the garbage collector's way.

    Streamlit collects after every run; with pandas imported that costs 75 ms of CPU, frozen 5 ms.
    """
    import pandas
    import pyarrow

    _ = (pandas, pyarrow)
    # Imports what this source needs and prepares the first start; its error is shown on every page until it is mended.
    with contextlib.suppress(DashboardError):
        services.source()
    gc.collect()
    gc.freeze()
    yield


refuse_unsafe_start()
os.umask(0o077)  # what is written from now on is for this account only
services.identify_with(current_visitor)
app = st.App(
    "lib/app.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=[Middleware(Guard), Middleware(Frontend)],
    secrets=sign_in_secrets(),
)
