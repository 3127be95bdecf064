"""Addresses of our own routes and pages, for links that Streamlit does not make."""

import streamlit as st

# As ``lib/app.py`` names them; the overview has none.
PAGE_PATHS = ("jobs", "new", "datasets", "configs", "job")


def own_path(path: str) -> str:
    """``/jobs`` as the browser must ask for it: below ``server.baseUrlPath`` where one is set."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path
