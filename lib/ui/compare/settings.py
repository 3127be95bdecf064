"""In which training settings jobs differ: one row per setting, one column per job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from lib.jobs.job import Job
from lib.jobs.secret_options import shown_extra
from lib.jobs.setting_kinds import value_text
from lib.jobs.training_settings import SETTINGS
from lib.jobs.words import UNKNOWN
from lib.ui.parts.notes import show_note
from lib.ui.parts.text import plain
from lib.ui.parts.url import UrlReader, mirror_url, write_params

JOB_GROUP, SETTINGS_GROUP, OPTIONS_GROUP = "Job", "Settings", "Further options"
MAX_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRow:
    """One parameter of all jobs, in words with units; unknown is ``–``."""

    group: str
    label: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether any two jobs differ."""
        return len(set(self.values)) > 1


def parameter_rows(jobs: Sequence[Job]) -> list[ParameterRow]:
    """Every parameter that any of the jobs has, grouped, in the order of the settings' one table."""
    further: dict[str, list[str | None]] = {
        "Further datasets": ["; ".join(each.text for each in job.more_data) or "none" for job in jobs]
    }
    named: dict[str, list[str | None]] = {
        "Dataset": [job.dataset_name or job.dataset_id for job in jobs],
        **(further if any(job.more_data for job in jobs) else {}),
        "Configuration": [job.config_name or job.config_id for job in jobs],
    }
    rows = [
        ParameterRow(group=JOB_GROUP, label=label, values=tuple(_text(value) for value in values))
        for label, values in named.items()
    ]
    for name, setting in SETTINGS.items():
        if name != "extra" and any(name in job.settings for job in jobs):
            texts = tuple(_setting_text(name, job.settings) for job in jobs)
            rows.append(ParameterRow(group=SETTINGS_GROUP, label=setting.label, values=texts))
    unknown = sorted({name for job in jobs for name in job.settings if name not in SETTINGS})
    for name in unknown:
        values = tuple(_text(job.settings.get(name)) for job in jobs)
        rows.append(ParameterRow(group=SETTINGS_GROUP, label=plain(name, limit=60), values=values))
    extras = [_extra(job.settings) for job in jobs]
    for name in sorted({name for extra in extras for name in extra}):
        values = tuple(_text(extra.get(name)) for extra in extras)
        rows.append(ParameterRow(group=OPTIONS_GROUP, label=plain(name, limit=60), values=values))
    return rows


def parameter_table(rows: Sequence[ParameterRow], names: Sequence[str]) -> pd.DataFrame:
    """The rows as a table with a column per job."""
    columns = {"Group": [row.group for row in rows], "Parameter": [row.label for row in rows]}
    return pd.DataFrame(
        columns | {name: [plain(row.values[at], limit=MAX_CHARS) for row in rows] for at, name in enumerate(names)}
    )


def show_settings(jobs: Sequence[Job], names: Sequence[str], reader: UrlReader) -> None:
    """What differs; a switch shows all."""
    st.header("Parameters", anchor=False)
    shows_all = reader.choice("all", ("1",), "") == "1"
    mirror_url("compare-all", shows_all)
    st.toggle("Show equal parameters too", key="compare-all", on_change=_write_all)
    rows = parameter_rows(jobs)
    different = [row for row in rows if row.differs]
    if not different:
        show_note("The jobs have the same parameters.")
    if shown := rows if shows_all else different:
        st.dataframe(parameter_table(shown, names), hide_index=True, width="stretch")


def _write_all() -> None:
    write_params({"all": "1" if st.session_state["compare-all"] else None})


def _setting_text(name: str, settings: Mapping[str, Any]) -> str:
    if name not in settings:
        return UNKNOWN
    known = SETTINGS[name].read(settings[name])
    return _text(settings[name]) if known is None else SETTINGS[name].shown(known) or UNKNOWN


def _extra(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = settings.get("extra")
    return shown_extra(extra) if isinstance(extra, Mapping) else {}


def _text(value: Any) -> str:
    return UNKNOWN if value in (None, "") else value_text(value)
