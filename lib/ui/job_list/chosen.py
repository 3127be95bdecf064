"""Which columns a viewer sees: what the link says, else what was chosen before in this browser, else the default."""

import streamlit as st

from lib.ui.job_list.columns import CHOICES, DEFAULT_KEYS
from lib.ui.parts.browser import remember, remembered, show_remembered
from lib.ui.parts.url import UrlReader, mirrored_key, write_params

_COOKIE = "job_columns"
_WIDGET = "chosen-columns"


def shown_keys(reader: UrlReader) -> tuple[str, ...]:
    """The keys of the chosen columns in the table's order. Unknown ones in a link are named in ``reader.problems``."""
    if text := reader.params.get("columns"):
        words = text.split(",")
        for word in words:
            if word not in CHOICES:
                reader.refuse("columns", word, None)
    else:
        words = remembered(_COOKIE).split(".")
    return tuple(key for key in CHOICES if key in words) or DEFAULT_KEYS


def show_column_choice(keys: tuple[str, ...]) -> None:
    """A menu with a check box for every column. The choice lands in the URL and stays in this browser."""
    with st.popover("Columns", icon=":material/view_column:", width="content"):
        key = mirrored_key(_WIDGET, list(keys))
        st.multiselect(
            "Columns beside the name",
            list(CHOICES),
            format_func=lambda key: CHOICES[key].label,
            default=keys,
            key=key,
            on_change=_push_columns,
            args=(key,),
        )
    show_remembered(_COOKIE)


def _push_columns(widget: str) -> None:
    chosen = st.session_state[widget] = [key for key in CHOICES if key in st.session_state[widget]]
    word = ",".join(chosen)
    is_default = word == ",".join(DEFAULT_KEYS)
    remember(_COOKIE, word.replace(",", "."))
    write_params({"columns": None if is_default else word}, widget=widget)
