"""The ASGI app that ``streamlit run Home.py`` starts: our routes beside Streamlit's, and a warm start.

It is no page: Streamlit runs ``lib/app.py`` for every visitor, so that even the first deep link passes its guard.
"""

import contextlib
import gc
import logging
from collections.abc import AsyncIterator

import streamlit as st

# The caches are declared before Streamlit's runtime stands, and work all the same: not a word about each of them.
logging.getLogger("streamlit.runtime.caching.cache_data_api").addFilter(
    lambda record: "No runtime found" not in record.getMessage()
)

from lib import services  # noqa: E402  after the filter above
from lib.errors import DashboardError  # noqa: E402
from lib.web.routes import ROUTES  # noqa: E402


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


app = st.App("lib/app.py", lifespan=lifespan, routes=ROUTES)
