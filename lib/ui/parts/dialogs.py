"""A dialog that the page itself never closes: a scan may end, or an upload be done, while somebody types in it.

A button opens it by ``on_click=open_dialog``; the page asks ``opened`` in every run and shows the dialog while it is.
What reruns the page without being asked to waits while ``is_dialog_open``: a full run makes the dialog anew, and what
is typed and not yet sent would be lost. Closing the dialog runs the page.
"""

from typing import Any

import streamlit as st

_OPENED = "dialog kept open"


def open_dialog(name: str, subject: object) -> None:
    """Open the dialog ``name`` about ``subject`` on this page; another one that was open is closed."""
    st.session_state[_OPENED] = (name, subject, st.context.url)


def opened(name: str) -> Any:
    """What the dialog ``name`` is open about; None when it is not, or was left open on another page."""
    return st.session_state[_OPENED][1] if is_dialog_open() and st.session_state[_OPENED][0] == name else None


def is_dialog_open() -> bool:
    """Whether a dialog is open on this page; one that was left open on another page is closed."""
    kept = st.session_state.get(_OPENED)
    if kept is not None and kept[2] != st.context.url:
        close_dialog()
        return False
    return kept is not None


def close_dialog() -> None:
    """Close it: after its deed, and as ``on_dismiss`` of the dialog."""
    st.session_state.pop(_OPENED, None)
