"""Actions on jobs: a bar of links and buttons, and the dialogs that ask for confirmation.

A page calls ``show_pending`` once at its top level (outside fragments) and ``show_actions`` where the bar belongs.
A button inside a ticking fragment must not open a dialog directly: the next tick would close it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

import streamlit as st

from lib import services
from lib.errors import DashboardError
from lib.jobs.job import Artifact, Job, JobStatus, Origin
from lib.jobs.words import count_text, size_text
from lib.sources.protocol import Action
from lib.ui.parts.artifact_order import listed_files
from lib.ui.parts.dialogs import ask_for_focus, give_focus_back
from lib.ui.parts.errors import explained_errors, show_error
from lib.ui.parts.links import COMPARE, FEWEST_COMPARED, JOB, MOST_COMPARED, Page, follow_link, own_path
from lib.ui.parts.text import escaped, plain
from lib.ui.parts.toasts import announce

SHOWN_NAMES = 10
SHOWN_FILES = 30
RETRY_AT_ONCE = "Starts the next attempt of the same job at once, with the same settings."
_PENDING_DIALOG = "dialog to open"
_LEAVING = "page to go to"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAction:
    """Something that changes jobs.

    Attributes:
        name: What the source must be able to do.
        fits: Whether it can be done to this job as it stands.
        refusal: Why it is disabled when it fits no selected job.
        done: What the toast says: ``Deleted``.
        keep: Label of the way out of the dialog.
        warning: What the dialog says about it.
    """

    name: Action
    label: str
    icon: str
    fits: Callable[[Job], bool]
    refusal: str
    done: str
    keep: str = ""
    warning: str = ""


RETRY = JobAction(
    name=Action.RETRY,
    label="Retry",
    icon=":material/replay:",
    fits=lambda job: job.status.is_terminal and job.origin is Origin.DASHBOARD,
    refusal="Only a job of the dashboard that has ended can be retried.",
    done="Retried",
    keep="Keep as it is",
)
CANCEL = JobAction(
    name=Action.CANCEL,
    label="Cancel",
    icon=":material/stop_circle:",
    fits=lambda job: job.status.is_active and not job.cancelling and job.origin is not Origin.WATCHED,
    refusal="Only a pending or running job can be cancelled, and only once; a watched run cannot.",
    done="Cancelling",
    keep="Keep running",
    warning="The training stops. Its log and the files written so far are kept.",
)
DELETE = JobAction(
    name=Action.DELETE,
    label="Delete",
    icon=":material/delete:",
    fits=lambda job: job.status is not JobStatus.RUNNING or job.origin is Origin.WATCHED,
    refusal="A running job cannot be deleted. Cancel it first.",
    done="Deleted",
    keep="Keep",
    warning="The log, the samples and the trained files are deleted, too. This cannot be undone.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    action: JobAction
    jobs: tuple[Job, ...]
    leave_to: str
    url: str | None
    button: str


def show_pending() -> None:
    """Show the dialog that a button requested. After the page's job was deleted, leave the page instead."""
    if page := st.session_state.pop(_LEAVING, None):
        follow_link(page, {})
        st.stop()
    asked: _Asked | None = st.session_state.get(_PENDING_DIALOG)
    if asked is None:
        return
    if asked.url != st.context.url:
        _close()
        return
    title = _question(asked.action, asked.jobs)
    st.dialog(title, icon=asked.action.icon, on_dismiss=_close)(_show_confirmation)(asked)


def _close() -> None:
    st.session_state.pop(_PENDING_DIALOG, None)


def show_actions(jobs: Sequence[Job], *, key: str, links: bool = True, leave_to: str = "") -> None:
    """The bar for one or more jobs.

    Args:
        jobs: What the actions apply to; each action takes those that it fits.
        key: Distinguishes several bars.
        links: Whether to offer the ways to the job's own page.
        leave_to: The page to go to after a deletion; empty stays.
    """
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}-actions"):
        if links:
            _show_links(jobs)
            _show_compare(jobs)
        _show_downloads(jobs, key)
        for action in (RETRY, CANCEL, DELETE):
            show_action(action, jobs, key=key, leave_to=leave_to, is_elsewhere=links)
        give_focus_back(f"{key}-{action.name}" for action in (RETRY, CANCEL, DELETE))


def reason_disabled(action: JobAction, jobs: Sequence[Job]) -> str:
    """Why the action is disabled for these jobs; empty if it is not."""
    refused = services.reason_against(action.name)
    return refused or ("" if any(action.fits(job) for job in jobs) else action.refusal)


def download_path(job_id: str, artifact_id: str) -> str:
    """The permanent address of a job's file: the file is located or signed at the click."""
    return own_path(f"/download/{quote(job_id, safe='')}/{quote(artifact_id)}")


def deletion_text(jobs: Sequence[Job]) -> str:
    """What will be deleted: ``3 jobs, 1.5 GB``; says if a size is unknown. A job that never ran has no files."""
    count = _count(jobs)
    with_files = [job for job in jobs if job.size_bytes is not None or job.attempt or job.started_at]
    if not with_files:
        return f"{count} without files"
    sizes = [job.size_bytes for job in with_files if job.size_bytes is not None]
    if not sizes:
        return f"{count}, size unknown"
    unknown = len(with_files) - len(sizes)
    return f"{count}, {size_text(sum(sizes))}" + (f" and {unknown} of unknown size" if unknown else "")


def deletion_warning(jobs: Sequence[Job]) -> str:
    """What goes with the jobs: of a watched run nothing but what is shown here."""
    stays = "Of a watched run only what is shown here goes: its log and its files stay where they are."
    watched = sum(job.origin is Origin.WATCHED for job in jobs)
    return " ".join([*([DELETE.warning] if watched < len(jobs) else []), *([stays] if watched else [])])


def cancel_text(jobs: Sequence[Job]) -> str:
    """What cancelling does to jobs that run or wait."""
    waiting = sum(job.status is JobStatus.PENDING for job in jobs)
    if waiting < len(jobs):
        return CANCEL.warning
    return "It leaves the queue before it starts." if waiting == 1 else "They leave the queue before they start."


def _show_links(jobs: Sequence[Job]) -> None:
    target = {"id": jobs[0].id}
    refusal = "" if len(jobs) == 1 else "Select a single job to open it."
    _show_link(JOB, "View details", ":material/open_in_full:", target, refusal)
    _show_link(JOB, "View logs", ":material/article:", {**target, "view": "logs"}, refusal)


def _show_compare(jobs: Sequence[Job]) -> None:
    fits = FEWEST_COMPARED <= len(jobs) <= MOST_COMPARED
    refusal = "" if fits else f"Select {FEWEST_COMPARED} to {MOST_COMPARED} jobs to compare them."
    _show_link(COMPARE, "Compare", COMPARE.icon, {"ids": ",".join(job.id for job in jobs)}, refusal)


def _show_link(target: Page, label: str, icon: str, params: dict[str, str], refusal: str) -> None:
    """A link; with a refusal a disabled button, because nothing tells a screen reader that a link is disabled."""
    if refusal:
        st.button(label, icon=icon, type="tertiary", key=f"refused {label}", disabled=True, help=refusal)
    else:
        st.page_link(target.file, label=label, icon=icon, query_params=params)


def _show_downloads(jobs: Sequence[Job], key: str) -> None:
    menu = st.popover(
        "Download artifacts", icon=":material/download:", key=f"{key}-downloads", on_change="rerun", wrap=False
    )
    if menu.open:
        with menu, explained_errors("The files cannot be listed"):
            for job in jobs[:SHOWN_NAMES]:
                _show_files(job)
            if len(jobs) > SHOWN_NAMES:
                st.caption(f"Only the files of the first {SHOWN_NAMES} selected jobs are listed.")


def _show_files(job: Job) -> None:
    files = listed_files(services.latest_artifacts(job).value, best=job.best)
    st.markdown(f"**{escaped(job.name or job.id, limit=80)}**")
    if not files:
        st.caption("No files yet." if job.status.is_active else "This job left no files.")
    for file in files[:SHOWN_FILES]:
        st.link_button(
            f"{'★ ' if file.id == job.best else ''}{_file_label(file)}",
            download_path(job.id, file.id),
            icon=":material/download:",
            width="stretch",
            disabled=bool(file.unavailable),
            help=file.unavailable or None,
        )
    if len(files) > SHOWN_FILES:
        st.caption(f"{len(files) - SHOWN_FILES} more files on the job's own page.")


def _file_label(file: Artifact) -> str:
    size = "" if file.size_bytes is None else f" · {size_text(file.size_bytes)}"
    return f"{escaped(file.name, limit=80)}{size}{' · holds NaN' if file.holds_nan else ''}"


def show_action(
    action: JobAction,
    jobs: Sequence[Job],
    *,
    key: str,
    leave_to: str = "",
    is_elsewhere: bool = False,
    width: Literal["content", "stretch"] = "content",
) -> None:
    """The button of one action; see ``show_actions``. ``is_elsewhere``: a retry leads to the job it starts."""
    reason = reason_disabled(action, jobs)
    note = reason or (_retry_note() if action is RETRY else "")
    pressed = st.button(
        action.label,
        icon=action.icon,
        key=f"{key}-{action.name}",
        disabled=bool(reason),
        help=note or None,
        width=width,
    )
    if not pressed:
        return
    fitting = tuple(job for job in jobs if action.fits(job))
    if action.warning or _has_succeeded(fitting):
        st.session_state[_PENDING_DIALOG] = _Asked(
            action=action,
            jobs=fitting,
            leave_to=leave_to if action is DELETE else "",
            url=st.context.url,
            button=f"{key}-{action.name}",
        )
        st.rerun()
    started: list[Job] = []
    errors = _retry(fitting, started)
    for error in errors:
        announce(escaped(f"{error} {error.hint}"), icon=":material/error:")
    if len(started) != 1:
        st.rerun()
    elif is_elsewhere:
        follow_link(JOB.file, {"id": started[0].id})
    else:
        st.switch_page(JOB.file, query_params={"id": started[0].id})


def _retry_note() -> str:
    """What a click does, and why it makes a new job if the source has no attempts."""
    return f"{services.source().reason_against(Action.RETRY_IN_PLACE) or RETRY_AT_ONCE} It trains from step 0."


def _has_succeeded(jobs: Sequence[Job]) -> bool:
    return any(job.status is JobStatus.SUCCEEDED for job in jobs)


def _retry_text(jobs: Sequence[Job]) -> str:
    """What a retry of jobs that have succeeded does."""
    succeeded = sum(job.status is JobStatus.SUCCEEDED for job in jobs)
    whose = "It has succeeded." if len(jobs) == 1 else f"{succeeded} of them succeeded."
    return f"{whose} A retry trains again. {_retry_note()} Files of the former attempt are kept."


def _retry(jobs: Sequence[Job], started: list[Job]) -> list[DashboardError]:
    """Retry each job, announce it and return the errors; new jobs are added to ``started``."""

    def deed(job: Job) -> None:
        again = services.act(lambda source: source.retry_job(job.id))
        if again.id != job.id:
            started.append(again)

    done, errors = _each(deed, jobs)
    new_ids = ", ".join(plain(job.id, limit=40) for job in started[:SHOWN_NAMES])
    if len(started) == 1:
        announce(f"Started as a new job: {escaped(new_ids)}")
    elif started:
        announce(f"Started as {len(started)} new jobs: {escaped(new_ids)}")
    elif done:
        announce(f"{RETRY.done} {escaped(_named(done))}")
    return errors


def perform(action: JobAction, jobs: Sequence[Job]) -> list[DashboardError]:
    """Cancel or delete each job, announce it and return the errors."""

    def deed(job: Job) -> None:
        services.act(lambda source: (source.cancel_job if action is CANCEL else source.delete_job)(job.id))

    done, errors = _each(deed, jobs)
    if done:
        announce(f"{action.done} {escaped(_named(done))}")
    return errors


def _each(deed: Callable[[Job], None], jobs: Sequence[Job]) -> tuple[list[Job], list[DashboardError]]:
    done, errors = [], []
    for job in jobs:
        try:
            deed(job)
            done.append(job)
        except DashboardError as error:
            errors.append(error)
    return done, errors


def _show_confirmation(asked: _Asked) -> None:
    """The dialog's content: what will happen, confirm, or keep."""
    action, jobs = asked.action, asked.jobs
    if action is DELETE:
        jobs = tuple(_with_size(job) for job in jobs)
    st.markdown("\n".join(f"- {_line(job, sized=action is DELETE)}" for job in jobs[:SHOWN_NAMES]))
    if len(jobs) > SHOWN_NAMES:
        st.markdown(f"… and {len(jobs) - SHOWN_NAMES} more.")
    warnings = {Action.DELETE: f"{deletion_text(jobs)}. {deletion_warning(jobs)}", Action.RETRY: _retry_text(jobs)}
    st.markdown(warnings.get(action.name) or cancel_text(jobs))
    with st.container(horizontal=True):
        confirmed = st.button(f"{action.label} {_count(jobs)}", type="primary", icon=action.icon, key="dialog-confirm")
        if st.button(action.keep, key="dialog-keep"):
            _close()
            ask_for_focus(asked.button)
            st.rerun()
    if confirmed:
        with explained_errors():
            _finish(asked)


def _finish(asked: _Asked) -> None:
    errors = _retry(asked.jobs, []) if asked.action is RETRY else perform(asked.action, asked.jobs)
    if len(errors) == len(asked.jobs):
        for error in errors[:SHOWN_NAMES]:
            show_error(error)
        return
    _close()
    for error in errors:
        announce(escaped(f"{error} {error.hint}"), icon=":material/error:")
    if asked.leave_to:
        st.session_state[_LEAVING] = asked.leave_to
    st.rerun()


def _with_size(job: Job) -> Job:
    """The job with its size, which a list may lack; unchanged if it cannot be read."""
    if job.size_bytes is not None:
        return job
    try:
        return services.latest_job(job.id).value
    except DashboardError:
        return job


def _line(job: Job, *, sized: bool) -> str:
    size = f", {size_text(job.size_bytes)}" if sized and job.size_bytes is not None else ""
    return f"**{escaped(job.name or job.id, limit=80)}** ({escaped(job.id, limit=40)}{size})"


def _question(action: JobAction, jobs: Sequence[Job]) -> str:
    return f"{action.label} {_count(jobs)}?"


def _count(jobs: Sequence[Job]) -> str:
    return count_text(len(jobs), "job", "jobs")


def _named(jobs: Sequence[Job]) -> str:
    return plain(jobs[0].name or jobs[0].id, limit=80) if len(jobs) == 1 else _count(jobs)
