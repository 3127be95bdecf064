"""Where a browser finds a sample, and how a page shows it: a picture or a short video."""

from typing import Literal
from urllib.parse import urlsplit

import streamlit as st

from lib.jobs.artifact_names import is_video
from lib.jobs.job import Artifact
from lib.ui.parts.job_actions import download_path
from lib.ui.parts.text import escaped


def sample_url(page_url: str | None, job_id: str, artifact_id: str) -> str:
    """The image on our own route, as an absolute URL: Streamlit passes on no other kind."""
    parts = urlsplit(page_url or "")
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return f"{origin}{download_path(job_id, artifact_id)}?inline=1"


def show_sample(
    job_id: str, sample: Artifact, *, alt: str, caption: str = "", width: int | Literal["stretch"] = "stretch"
) -> None:
    """A picture that leads to the whole one, or a video; a link where our own address is not known."""
    url = sample_url(st.context.url, job_id, sample.id)
    if not url.startswith("http"):
        st.link_button(escaped(alt), url)
    elif is_video(sample.name):
        st.video(url, loop=True, muted=True, width=width)
        if caption:
            st.caption(escaped(caption))
    else:
        st.image(url, caption=escaped(caption) or None, width=width, link=url, alt=alt)
