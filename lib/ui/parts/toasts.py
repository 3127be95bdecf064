"""Toasts that say what an action did. ``lib/app.py`` draws them, so that every page shows them."""

import streamlit as st

_PENDING = "toasts to show"


def announce(text: str, *, icon: str = ":material/check:") -> None:
    """Say ``text`` (Markdown: escape what is foreign) in a toast of the next run, so that a rerun keeps it."""
    st.session_state[_PENDING] = (*st.session_state.get(_PENDING, ()), (text, icon))


def show_announced() -> None:
    """The toasts for what was done before this run."""
    for text, icon in st.session_state.pop(_PENDING, ()):
        st.toast(text, icon=icon, duration="long")
