"""Gives the focus back to the button that opened a dialog, when the dialog was closed by a button of its own.

The browser does so by itself after Escape. Here the button inside is gone with the run that closes the dialog, and now
and then the focus with it.
"""

from collections.abc import Iterable

import streamlit as st

_KEY = "button that gets the focus back"


def ask_for_focus(button: str) -> None:
    """Let the button with this widget key have the focus once it is drawn again."""
    st.session_state[_KEY] = button


def give_focus_back(buttons: Iterable[str]) -> None:
    """Focus the asked-for button if it is one of these. Call it after them: it takes no room."""
    wanted = st.session_state.get(_KEY)
    if wanted in set(buttons):
        del st.session_state[_KEY]
        st.html(_script(wanted), unsafe_allow_javascript=True)


def _script(button: str) -> str:
    """Only while nothing else has the focus. Several tries, as the dialog goes a moment later; no foreign text."""
    return f"""<style></style><script>
for (const wait_ms of [0, 100, 300, 600, 1000]) {{
  setTimeout(() => {{
    if (document.activeElement === document.body) document.querySelector(".st-key-{button} button")?.focus();
  }}, wait_ms);
}}
</script>"""
