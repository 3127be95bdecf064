"""Small print. ``st.caption`` draws it too pale to be read by everybody; the theme's own gray is dark enough."""

import streamlit as st

from lib.ui.text import escaped


def show_note(text: str, *, color: str = "gray", note: str | None = None) -> None:
    """One small line in a theme colour; ``text`` may be foreign, ``note`` is shown on hover."""
    st.markdown(f":small[:{color}[{escaped(text)}]]", help=note)
