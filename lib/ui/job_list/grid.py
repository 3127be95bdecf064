"""The table itself: rows, links on the names, selection, and headers that sort the whole list."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from lib.jobs.job import Job, JobStatus
from lib.jobs.query import JobQuery, SortBy
from lib.jobs.sweep import name_within
from lib.ui.job_list.columns import CHOICES, NAME, Column, status_words
from lib.ui.parts.format import utc_now
from lib.ui.parts.job_filters import sort_params
from lib.ui.parts.links import JOB
from lib.ui.parts.text import escaped
from lib.ui.parts.theme import STATUS_LOOKS
from lib.ui.parts.url import write_params

ROW_HEIGHT_PX = 40
NARROW_ROW_HEIGHT_PX = 56
NARROW_NAME_PX = 200
# What a first click on a header shows first; a second click turns it round.
_SMALLEST_FIRST = frozenset({SortBy.NAME, SortBy.STATUS, SortBy.LOSS})
_SELECTED = "ids of the selected jobs"
_HEADER_CLICKS = "clicks on headers"


def shown_columns(keys: Sequence[str], *, is_narrow: bool) -> tuple[Column, ...]:
    """The columns in their order: the sample, the name, which every list has, and the others that were chosen."""
    if is_narrow:
        return (NAME, CHOICES["progress"])
    chosen = [column for key, column in CHOICES.items() if key in keys]
    place = 1 if "sample" in keys else 0
    return (*chosen[:place], NAME, *chosen[place:])


def job_rows(
    jobs: Sequence[Job],
    columns: Sequence[Column],
    now: datetime,
    *,
    samples: Mapping[str, str] | None = None,
    is_narrow: bool = False,
) -> list[dict[str, Any]]:
    """A row per job. ``samples`` has the address of the newest sample by job id."""
    rows = [{column.label: column.cell(job, now) for column in columns} for job in jobs]
    for job, row in zip(jobs, rows, strict=True):
        if "Sample" in row:
            row["Sample"] = (samples or {}).get(job.id, "")
        if is_narrow:
            row["Name"] = f"{row['Name']}: {', '.join(status_words(job))}"
    return rows


def header(column: Column, query: JobQuery) -> str:
    """The column's label, with an arrow where the list is sorted by it."""
    if column.sort_by is not query.sort_by:
        return column.label
    return f"{column.label} {'↓' if query.descending else '↑'}"


def sorted_by(column: Column, query: JobQuery) -> dict[str, str | None]:
    """The changes to the URL that a click on the column's header makes."""
    if column.sort_by is None:
        return {}
    is_again = column.sort_by is query.sort_by
    descending = not query.descending if is_again else column.sort_by not in _SMALLEST_FIRST
    return sort_params(column.sort_by, descending=descending)


def rows_key(words: Sequence[str]) -> str:
    """A short name for these rows in this order, for widget keys."""
    return hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:16]


def show_table(
    jobs: Sequence[Job],
    query: JobQuery,
    columns: Sequence[Column],
    *,
    samples: Mapping[str, str] | None = None,
    is_narrow: bool = False,
) -> list[Job]:
    """The table; returns the selected jobs.

    Streamlit selects rows by position, so the widget's key depends on the rows: when a new job moves them, the
    selection is carried over by id, and a click on the old rows is dropped instead of hitting another job. The grid's
    own sorting sees one page only; with columns that can be selected, a click on a header is told to us instead.
    """
    ids = [job.id for job in jobs]
    clicks = st.session_state.setdefault(_HEADER_CLICKS, 0)
    key = f"jobs-{rows_key([*ids, *(column.key for column in columns), str(clicks)])}"
    chosen = st.session_state.get(_SELECTED, ())
    named = [replace(job, name=name_within(job)) for job in jobs] if query.sweep else jobs
    with st.container(key="job-table", gap=None):
        event = st.dataframe(
            pd.DataFrame(job_rows(named, columns, utc_now(), samples=samples, is_narrow=is_narrow)),
            key=key,
            hide_index=True,
            height="content",
            row_height=NARROW_ROW_HEIGHT_PX if is_narrow else ROW_HEIGHT_PX,
            column_config={column.label: _config(column, query, is_narrow=is_narrow) for column in columns},
            on_select=partial(_sort_by_header, key, query, tuple(columns)),
            selection_mode=("multi-row", "single-column"),
            selection_default={"selection": {"rows": [ids.index(each) for each in chosen if each in ids]}},
            placeholder="–",
            alt="Training jobs. Shift+Space selects a row.",
        )
        _show_names(named, is_first=columns[0] is NAME, is_narrow=is_narrow)
    selected = [jobs[row] for row in event["selection"]["rows"] if row < len(ids)]
    st.session_state[_SELECTED] = tuple(job.id for job in selected)
    return selected


def _config(column: Column, query: JobQuery, *, is_narrow: bool) -> Any:
    options: dict[str, Any] = {"width": NARROW_NAME_PX} if is_narrow and column is NAME else {}
    return column.config(header(column, query), **options)


def _sort_by_header(key: str, query: JobQuery, columns: tuple[Column, ...]) -> None:
    """A click on a header came as the selection of a column. The next table has another key and so none selected."""
    clicked = st.session_state[key]["selection"]["columns"]
    column = next((each for each in columns if each.label in clicked), None)
    if column is not None:
        st.session_state[_HEADER_CLICKS] += 1
        write_params(sorted_by(column, query))


def name_label(job: Job, *, is_narrow: bool) -> str:
    """The link's text as Markdown: the name, on a phone with the status below it."""
    name = f"{'★ ' if job.is_starred else ''}{escaped(job.name or job.id, limit=80)}"
    if not is_narrow:
        return name
    look = STATUS_LOOKS[JobStatus.CANCELLED if job.cancelling else job.status]
    return f"{name} :{look.color}[● {escaped(', '.join(status_words(job)))}]"


def _show_names(jobs: Sequence[Job], *, is_first: bool, is_narrow: bool) -> None:
    """A real link over every name: the grid is drawn on a canvas, whose links no keyboard reaches."""
    with st.container(key=f"job-names-{'first' if is_first else 'second'}", gap=None):
        for job in jobs:
            st.page_link(JOB.file, label=name_label(job, is_narrow=is_narrow), query_params={"id": job.id})
