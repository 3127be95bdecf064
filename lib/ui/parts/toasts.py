"""Toasts about what an action did; ``lib/app.py`` shows them on every page."""

import streamlit as st

_PENDING = "toasts to show"


def announce(text: str, *, icon: str = ":material/check:") -> None:
    """Show ``text`` (Markdown: escape text from outside) as a toast in the next run, so that a rerun keeps it."""
    st.session_state[_PENDING] = (*st.session_state.get(_PENDING, ()), (text, icon))


def show_announced() -> None:
    """Show the toasts announced before this run."""
    for text, icon in st.session_state.pop(_PENDING, ()):
        st.toast(text, icon=icon, duration="long")
