"""The pages of the dashboard and the links to them.

``PAGES`` is the only list of pages: navigation, links and the answer to an unknown address are made from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from lib.jobs.failures.suspect_settings import suspect_settings
from lib.jobs.job import Job
from lib.ui.parts.url import write_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page.

    Attributes:
        path: Its address without the leading slash.
        file: Its script, as ``st.Page`` and ``st.page_link`` want it: relative to ``lib/app.py``.
        title: What the navigation and the browser's tab say.
        icon: Shown in the navigation.
        is_listed: Whether the navigation names it.
    """

    path: str
    file: str
    title: str
    icon: str = ""
    is_listed: bool = True


OVERVIEW = Page(path="overview", file="../pages/overview.py", title="Overview", icon=":material/home:")
JOBS = Page(path="jobs", file="../pages/jobs.py", title="Jobs", icon=":material/list:")
NEW_JOB = Page(path="new", file="../pages/new_job.py", title="New job", icon=":material/add:")
DATASETS = Page(path="datasets", file="../pages/datasets.py", title="Datasets", icon=":material/photo_library:")
CONFIGS = Page(path="configs", file="../pages/configs.py", title="Configurations", icon=":material/tune:")
COMPARE = Page(path="compare", file="../pages/compare.py", title="Compare", icon=":material/compare_arrows:")
INSPECT = Page(path="inspect", file="../pages/inspect.py", title="Inspect", icon=":material/biotech:")
JOB = Page(path="job", file="../pages/job.py", title="Job", is_listed=False)
# In the order of the navigation; the first one is also what "/" shows.
PAGES = (OVERVIEW, JOBS, NEW_JOB, DATASETS, CONFIGS, COMPARE, INSPECT, JOB)

FEWEST_COMPARED, MOST_COMPARED = 2, 8


def own_path(path: str) -> str:
    """``/jobs`` as the browser must ask for it: below ``server.baseUrlPath`` where one is set."""
    base = str(st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path


def wizard_params(job: Job) -> dict[str, str]:
    """The URL parameters that start the wizard from this job: at its settings, under a name of its own."""
    return {"from": job.id}


def fix_params(job: Job) -> dict[str, str]:
    """The same, at the step that changes settings; ``mark`` names those that most likely need it."""
    suspects = suspect_settings(job.failure)
    return {**wizard_params(job), "step": "2", **({"mark": ",".join(suspects)} if suspects else {})}


def show_place_link(label: str, params: Mapping[str, str | None], *, icon: str | None = None) -> bool:
    """Change parameters of this page's URL, with a history entry; None takes one away.

    ``st.page_link`` to the current page shows the other place but does not change the address bar: the next rerun would
    go back. Returns whether it was followed: a fragment then draws the whole page again.
    """
    key = f"place {sorted(params.items(), key=str)}"
    return st.button(label, key=key, icon=icon, type="tertiary", on_click=write_params, args=(params,))


def show_primary_link(page: Page, label: str, icon: str, params: Mapping[str, str] | None = None) -> None:
    """The page's main action as a filled link: a real one, with a new tab and a clean Back, unlike a primary button."""
    with st.container(key=f"primary-link-{page.path}", width="content"):
        st.page_link(page.file, label=label, icon=icon, query_params=dict(params) if params else None)


def follow_link(page: str, params: Mapping[str, str]) -> None:
    """Go to another page through a hidden link that ``browser.js`` clicks, with one history entry.

    ``st.switch_page`` makes two: this page's address with the new parameters, then the other page's.
    """
    with st.container(key="way-on"):
        st.page_link(page, label="Open", query_params=dict(params))
