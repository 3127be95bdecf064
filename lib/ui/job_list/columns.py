"""The columns of the list: what a cell shows, what a click on the header sorts by, and which ones are shown."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import streamlit as st

from lib.jobs.failures.causes import Cause
from lib.jobs.job import Job, JobStatus
from lib.jobs.query import SortBy
from lib.jobs.words import UNKNOWN
from lib.ui.parts.cluster import PLACES
from lib.ui.parts.format import duration_text, epoch_text, viewer_zone, whole_percent
from lib.ui.parts.text import plain
from lib.ui.parts.theme import CANCELLING, STATUS_LOOKS, status_text

NAN_LOSS = "NaN loss"
ALARM_COLOR = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: Its word in the URL.
        label: Its header, and its name in the data.
        cell: What it shows of a job; None leaves the cell empty.
        config: Makes Streamlit's configuration from a label and more.
        sort_by: What a click on the header sorts by; None for nothing.
        is_shown: Whether it is shown where nothing was chosen.
    """

    key: str
    label: str
    cell: Callable[[Job, datetime], Any]
    config: Callable[..., Any]
    sort_by: SortBy | None = None
    is_shown: bool = True


def status_words(job: Job) -> list[str]:
    """The status, then cause and alarms: ``Failed``, ``out of memory``; ``Running``, ``NaN loss``."""
    words = [job.failure.cause] if job.failure else []
    if words == [Cause.UNKNOWN]:
        words = ["cause unknown"]
    if job.progress.loss is not None and math.isnan(job.progress.loss):
        words.append(Cause.NAN_LOSS)
    notes = dict.fromkeys((*words, *job.alarms[:3]))
    return [status_text(job), *(_note(note) for note in notes if note)]


def starred_name(job: Job) -> str:
    """The name as the list shows it: ``★ Aria v1``."""
    return f"{'★ ' if job.is_starred else ''}{plain(job.name or job.id, limit=200)}"


def _note(word: str) -> str:
    return NAN_LOSS if word == Cause.NAN_LOSS else plain(word, limit=30).replace("_", " ")


def _learning_rate(job: Job, _now: datetime) -> float | None:
    """The configured one: what jobs are compared by. A schedule changes the one that is printed."""
    rate = job.settings.get("learning_rate")
    return float(rate) if isinstance(rate, int | float) else job.progress.learning_rate


def _text(width: int, **options: Any) -> Callable[..., Any]:
    return partial(st.column_config.TextColumn, width=width, **options)


def _status_column(label: str, **options: Any) -> Any:
    known = {status.label: STATUS_LOOKS[status].color for status in JobStatus}
    known |= {CANCELLING: STATUS_LOOKS[JobStatus.CANCELLED].color, NAN_LOSS: ALARM_COLOR}
    # As wide as "Failed" with "permission denied" beside it.
    return st.column_config.MultiselectColumn(
        label, options=list(known), color=list(known.values()), width=200, **options
    )


def _created_column(label: str, **options: Any) -> Any:
    return st.column_config.DatetimeColumn(label, format="distance", timezone=str(viewer_zone()), width=115, **options)


_progress_column = partial(st.column_config.ProgressColumn, min_value=0, max_value=100, format="%d%%", width=105)
_number_column = partial(st.column_config.NumberColumn, width=80)


def datasets_text(job: Job) -> str:
    """The main dataset, and how many it has beside it."""
    others = f" + {len(job.more_data)}" if job.more_data else ""
    return plain(job.dataset_name or job.dataset_id or UNKNOWN, limit=100) + others


COLUMNS = (
    Column(
        key="status",
        label="Status",
        cell=lambda job, _: status_words(job),
        config=_status_column,
        sort_by=SortBy.STATUS,
    ),
    Column(
        key="progress",
        label="Progress",
        cell=lambda job, _: whole_percent(job.progress.fraction),
        config=_progress_column,
        sort_by=SortBy.PROGRESS,
    ),
    Column(
        key="loss",
        label="Loss",
        cell=lambda job, _: job.progress.loss,
        config=partial(_number_column, format="%.4f"),
        sort_by=SortBy.LOSS,
    ),
    Column(
        key="epoch",
        label="Epoch",
        cell=lambda job, _: epoch_text(job.progress),
        config=_text(70, alignment="right"),
    ),
    Column(
        key="eta",
        label="ETA",
        cell=lambda job, _: duration_text(job.progress.eta_s if job.status.is_active else None),
        config=_text(90, alignment="right"),
    ),
    Column(
        key="duration",
        label="Duration",
        cell=lambda job, now: duration_text(job.duration_s(now)),
        config=_text(95, alignment="right"),
        sort_by=SortBy.DURATION,
    ),
    Column(
        key="created",
        label="Created",
        cell=lambda job, _: job.created_at,
        config=_created_column,
        sort_by=SortBy.CREATED_AT,
    ),
    Column(
        key="dataset",
        label="Dataset",
        cell=lambda job, _: datasets_text(job),
        config=_text(125),
    ),
    Column(
        key="tags",
        label="Tags",
        cell=lambda job, _: plain(", ".join(job.tags), limit=200) or None,
        config=_text(125),
        is_shown=False,
    ),
    Column(
        key="sweep",
        label="Sweep",
        cell=lambda job, _: plain(job.sweep.name, limit=100) if job.sweep else None,
        config=_text(130),
        is_shown=False,
    ),
    Column(
        key="rate",
        label="Learning rate",
        cell=_learning_rate,
        config=partial(_number_column, format="%.3g", width=105),
        is_shown=False,
    ),
    Column(
        key="config",
        label="Configuration",
        cell=lambda job, _: plain(job.config_name or job.config_id or UNKNOWN, limit=100),
        config=_text(130),
        is_shown=False,
    ),
    Column(
        key="where",
        label="Where",
        cell=lambda job, _: plain(job.node or PLACES.get(job.executor, job.executor), limit=60),
        config=_text(125),
        is_shown=False,
    ),
    Column(
        key="trainer",
        label="Trainer",
        cell=lambda job, _: plain(job.trainer or job.settings.get("trainer") or UNKNOWN, limit=60),
        config=_text(95),
        is_shown=False,
    ),
)
SAMPLE = Column(
    key="sample",
    label="Sample",
    cell=lambda job, _: None,
    config=partial(st.column_config.ImageColumn, width=62, pinned=True),
)
NAME = Column(
    key="name",
    label="Name",
    cell=lambda job, _: starred_name(job),
    config=_text(190, pinned=True),
    sort_by=SortBy.NAME,
)
CHOICES = {column.key: column for column in (SAMPLE, *COLUMNS)}
DEFAULT_KEYS = tuple(key for key, column in CHOICES.items() if column.is_shown)
# A phone has room for two.
NARROW_KEYS = ("progress",)
