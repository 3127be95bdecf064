"""Where a browser finds a sample picture, and a small one of it."""

from urllib.parse import urlsplit

import streamlit as st

from lib.jobs.job import Artifact
from lib.ui.parts.job_actions import download_path


def sample_url(page_url: str | None, job_id: str, artifact_id: str) -> str:
    """The image on our own route, as an absolute URL: Streamlit passes on no other kind."""
    parts = urlsplit(page_url or "")
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return f"{origin}{download_path(job_id, artifact_id)}?inline=1"


def show_thumbnail(job_id: str, sample: Artifact, *, alt: str, width_px: int) -> None:
    """A small picture that leads to the whole one; ``alt`` is Markdown. A link where our own address is not known."""
    url = sample_url(st.context.url, job_id, sample.id)
    if url.startswith("http"):
        st.image(url, width=width_px, link=url, alt=alt)
    else:
        st.link_button(alt, url)
