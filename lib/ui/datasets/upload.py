"""Uploading files into a dataset: the browser sends each to our own route and shows its progress."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from lib import services
from lib.ui.parts.dialogs import is_dialog_open
from lib.ui.parts.links import own_path

_HTML, _CSS, _JS = (Path(__file__).with_suffix(f".{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_UPLOAD = st.components.v2.component("lora_upload", html=_HTML, css=_CSS, js=_JS)


@st.fragment
def show_upload_panel(dataset_id: str) -> None:
    """A file input and drop zone. After an upload the page runs again and shows the new state."""
    result = _UPLOAD(key=f"upload-{dataset_id}", data=upload_data(dataset_id), on_finished_change=services.forget_reads)
    if result.finished and not is_dialog_open():
        st.rerun()


def upload_data(dataset_id: str) -> dict[str, Any]:
    """What the component needs: where to send files, and how large they may be."""
    return {
        "url": own_path(f"/upload/{quote(dataset_id, safe='')}/"),
        "header": services.UPLOAD_HEADER,
        "max_bytes": services.MAX_UPLOAD_BYTES,
    }
