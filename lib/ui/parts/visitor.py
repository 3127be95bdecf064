"""Who is here: the name and role of the visitor, and what everybody must know about who may come in."""

import streamlit as st

from lib import services
from lib.access import NO_ACCESS
from lib.ui.parts.notes import show_note


def show_visitor() -> None:
    """One line about the visitor where people sign in; stops the page for somebody without access.

    The guard has refused such a visitor before. This is for the page that was open when the role was taken away, and
    for a server that was started without the guard.
    """
    visitor = services.visitor()
    if visitor is None:
        st.error(NO_ACCESS, icon=":material/lock:")
        st.stop()
    if notice := services.access().notice:
        st.warning(notice, icon=":material/lock_open:")
    if visitor.name:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            show_note(f"{visitor.name} · {visitor.role}", note=visitor.refusal or None)
            if services.access().oidc and st.button("Sign out", type="tertiary", icon=":material/logout:"):
                st.logout()
