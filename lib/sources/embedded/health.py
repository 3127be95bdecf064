"""Health checks of the embedded source: database, worker, disk, store. A failed check says so; none raises."""

import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lib.embedded.files.availability import FolderUnavailable
from lib.embedded.files.disk_space import space_problem
from lib.embedded.files.privacy import is_open_to_others
from lib.embedded.store.jobs import Store
from lib.embedded.worker.launcher import LOG_NAME, WorkerLauncher
from lib.embedded.worker.notifications import unknown_services
from lib.errors import DashboardError
from lib.jobs.words import count_text, size_text
from lib.settings import NotifySettings
from lib.sources.protocol import HealthCheck

if TYPE_CHECKING:
    from lib.artifacts.object_store import ObjectStore
    from lib.embedded.ray.client import RayClient

LATE_BEAT_S = 15.0

_Look = Callable[[], tuple[bool | None, str]]


def check_health(
    store: Store,
    launcher: WorkerLauncher,
    data_dir: Path,
    files: "ObjectStore | None",
    now: Callable[[], datetime],
    notify: NotifySettings,
    cluster: "RayClient | None" = None,
) -> list[HealthCheck]:
    """All checks, each with its time and latency."""
    looks: dict[str, _Look] = {
        "Source": lambda: _look_at_database(store),
        "Worker": lambda: _look_at_worker(store, launcher),
        "Disk": lambda: _look_at_disk(store, data_dir),
    }
    if files is not None:
        looks["Artifact store"] = lambda: _look_at_copies(files)
    if cluster is not None:
        looks["Cluster"] = lambda: _look_at_cluster(cluster)
    if notify.urls:
        looks["Notifications"] = lambda: _look_at_notifications(store, notify, now().timestamp())
    return [_check(name, look, now) for name, look in looks.items()]


def _check(name: str, look: _Look, now: Callable[[], datetime]) -> HealthCheck:
    started = time.perf_counter()
    try:
        ok, message = look()
    except DashboardError as error:
        ok, message = False, f"{error} {error.hint}".rstrip()
    except OSError as error:
        ok, message = False, f"This cannot be checked right now: {error.strerror or error}."
    latency_ms = (time.perf_counter() - started) * 1000
    return HealthCheck(name=name, ok=ok, message=message, checked_at=now(), latency_ms=latency_ms)


def _look_at_database(store: Store) -> tuple[bool | None, str]:
    count = sum(store.count_by_status().values())
    return True, f"The database responds; it holds {count_text(count, 'job', 'jobs')}."


def _look_at_worker(store: Store, launcher: WorkerLauncher) -> tuple[bool | None, str]:
    try:
        is_needed = store.has_active_jobs()
    except FolderUnavailable:
        return None, "Unknown: the data folder cannot be reached."
    if not launcher.is_running():
        if not is_needed:
            return None, "Not needed now: no jobs are waiting."
        if launcher.problem:
            return False, f"Jobs are waiting, but the worker cannot be started: {launcher.problem}. It is retried."
        return False, f"Jobs are waiting, but no worker is running; one is starting. See {LOG_NAME} in the data folder."
    age_s = launcher.beat_age_s()
    if age_s is not None and age_s > LATE_BEAT_S:
        return False, f"The worker has shown no sign of life for {age_s:.0f} s."
    return True, "The worker is running jobs." if is_needed else "The worker is idle and will stop soon."


def _look_at_disk(store: Store, data_dir: Path) -> tuple[bool | None, str]:
    try:
        store.database.file_id()
    except FolderUnavailable:
        return False, "Unknown: the data folder cannot be reached."  # what is in its place may be another disk
    if is_open_to_others(data_dir):
        return False, "Other accounts of this machine can read the data folder. Take their rights: chmod 700."
    if problem := space_problem(data_dir):
        return False, problem
    found = os.statvfs(data_dir)
    return True, f"{size_text(found.f_bavail * found.f_frsize)} free in the data folder."


def _look_at_cluster(client: "RayClient") -> tuple[bool | None, str]:
    """Whether it answers and takes the token, its version, and what it has."""
    version, found = client.version(), client.cluster()
    nodes = count_text(len(found.nodes), "node", "nodes")
    cards, processors = f"{found.total('GPU'):g} GPU", f"{found.total('CPU'):g} CPU"
    if not found.nodes:
        return False, f"Ray {version} at {client.name} has no nodes now."
    return True, f"Ray {version} at {client.name}: {nodes} with {processors} and {cards}."


def _look_at_copies(files: "ObjectStore") -> tuple[bool | None, str]:
    found = files.check()
    return found.ok, f"Finished files are copied to {found.message}." if found.ok else found.message


def _look_at_notifications(store: Store, notify: NotifySettings, now: float) -> tuple[bool | None, str]:
    """Whether they arrive. No address is ever named: it may hold a password."""
    if unknown := unknown_services(notify.urls):
        which = ", ".join(map(str, unknown))
        return False, f"LORA_NOTIFY_URLS has an address that is not understood (number {which}). Correct it."
    trouble = store.outbox.trouble(now)
    if trouble.waiting:
        waiting = count_text(trouble.waiting, "message waits", "messages wait")
        return False, f"{waiting} after a failed try. {trouble.problem} It is tried again for a day."
    if trouble.given_up:
        lost = count_text(trouble.given_up, "message", "messages")
        return False, f"{lost} could not be sent within a day. {trouble.problem}"
    services = count_text(len(notify.urls), "service", "services")
    return True, f"Messages go to {services}; none waits after a failed try."
