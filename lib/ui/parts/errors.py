"""Errors as people see them: what happened, why, and what to do next. Never a traceback."""

import contextlib
import logging
from collections.abc import Iterator

import streamlit as st

from lib import services
from lib.errors import DashboardError, InvalidRequest
from lib.ui.parts.text import escaped

log = logging.getLogger(__name__)


@contextlib.contextmanager
def explained_errors(title: str = "", *, retry: bool = False) -> Iterator[None]:
    """Explain an error raised inside the block and continue after it.

    No ``st.stop``: inside a fragment that would kill everything below it.

    Args:
        title: What failed; distinguishes the "Retry" buttons of a page.
        retry: Whether the block only reads, so that "Retry" reads everything again.
    """
    try:
        yield
    except DashboardError as error:
        show_error(error, title=title)
        if retry:
            show_retry(title)
    except Exception as error:
        # Streamlit controls scripts by exceptions of its own (rerun, stop). They are BaseExceptions and pass.
        log.exception("Unexpected error on a page")
        show_error(
            DashboardError(
                f"Something unexpected went wrong in the dashboard ({type(error).__name__}).",
                hint="Reload the page. The server's log has the details.",
            ),
            title=title,
        )
        if retry:
            show_retry(title)


def show_retry(place: str) -> None:
    """A button that reads everything again; ``place`` makes its key unique."""
    st.button("Retry", icon=":material/refresh:", key=f"retry {place}", on_click=services.forget_reads)


def show_error(error: DashboardError, *, title: str = "") -> None:
    """One error box: an optional title, the sentence, its fields and the hint."""
    lines = [f"**{escaped(title)}**"] if title else []
    lines.append(escaped(str(error)))
    if isinstance(error, InvalidRequest):
        lines += [f"- {escaped(name)}: {escaped(problem)}" for name, problem in error.fields.items()]
    if error.hint:
        lines.append(escaped(error.hint))
    st.error("\n\n".join(lines), icon=":material/error:")
