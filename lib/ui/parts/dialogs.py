"""Dialogs that stay open across reruns: a scan or an upload may finish while somebody is typing in one.

A button opens it by ``on_click=open_dialog``; the page asks ``opened`` in every run and shows the dialog while it is.
Anything that reruns the page by itself waits while ``is_dialog_open``: a full run recreates the dialog, and text that
was not yet sent would be lost. Closing the dialog runs the page.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import streamlit as st

from lib import services
from lib.sources.protocol import JobSource
from lib.ui.parts.browser import focus_button
from lib.ui.parts.errors import explained_errors
from lib.ui.parts.toasts import announce
from lib.ui.parts.url import write_params

_OPENED = "dialog kept open"
_KEY = "button that gets the focus back"


def open_dialog(name: str, subject: object) -> None:
    """Open the dialog ``name`` about ``subject`` on this page and close any other."""
    st.session_state[_OPENED] = (name, subject, st.context.url)


def opened(name: str) -> Any:
    """The subject of the dialog ``name`` if it is open on this page, else None."""
    return st.session_state[_OPENED][1] if is_dialog_open() and st.session_state[_OPENED][0] == name else None


def is_dialog_open() -> bool:
    """Whether a dialog is open on this page. One that was left open on another page is closed."""
    kept = st.session_state.get(_OPENED)
    if kept is not None and kept[2] != st.context.url:
        close_dialog()
        return False
    return kept is not None


def close_dialog() -> None:
    """Close the dialog: after its action, and as its ``on_dismiss``."""
    st.session_state.pop(_OPENED, None)


def act(change: Callable[[JobSource], object], *, done: str, then: Mapping[str, str | None] | None = None) -> None:
    """Change the source and the URL, then draw the page again with ``done`` (Markdown) in a toast; or show why not."""
    with explained_errors():
        services.act(change)
        announce(done)
        close_dialog()
        write_params(then or {})
        st.rerun()


def ask_for_focus(button: str) -> None:
    """Focus the button with this widget key after the next run."""
    st.session_state[_KEY] = button


def give_focus_back(buttons: Iterable[str]) -> None:
    """Focus the asked-for button if it is one of these. Call it after them."""
    wanted = st.session_state.get(_KEY)
    if wanted in set(buttons):
        del st.session_state[_KEY]
        focus_button(wanted)
