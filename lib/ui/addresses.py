"""Addresses of our own routes and pages, for links that Streamlit does not make."""

import streamlit as st


def own_path(path: str) -> str:
    """``/jobs`` as the browser must ask for it: below ``server.baseUrlPath`` where one is set."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path
