"""Where a browser finds a sample picture."""

from urllib.parse import urlsplit

from lib.ui.parts.job_actions import download_path


def sample_url(page_url: str | None, job_id: str, artifact_id: str) -> str:
    """The image on our own route, as an absolute URL: Streamlit passes on no other kind."""
    parts = urlsplit(page_url or "")
    origin = f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return f"{origin}{download_path(job_id, artifact_id)}?inline=1"
