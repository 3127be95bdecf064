"""A way to another place on the same page, such as from a list to one of its rows."""

from collections.abc import Mapping

import streamlit as st

from lib.ui.url_state import write_params


def show_place_link(label: str, params: Mapping[str, str | None], *, icon: str | None = None) -> None:
    """Change parameters of this page's URL, with a history entry; None takes one away.

    ``st.page_link`` to the page that it stands on shows the other place but leaves the address bar as it was: the next
    rerun would be back where one came from.
    """
    key = f"place {sorted(params.items(), key=str)}"
    st.button(label, key=key, icon=icon, type="tertiary", on_click=write_params, args=(params,))
