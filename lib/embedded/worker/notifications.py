"""Sends what waits in the outbox, in a thread of its own: a service that hangs delays no training."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lib.embedded.files.disk_space import space_problem
from lib.embedded.store.outbox import Message, OutboxStore
from lib.jobs.news import Event, disk_news
from lib.settings import NotifySettings

if TYPE_CHECKING:
    from apprise import NotifyBase

LOOK_EVERY_S = 1.0
DISK_EVERY_S = 60.0
# Before the second try, doubled with each, and at most an hour; longer than services may take to answer.
PAUSES_S = (30.0, 3_600.0)
_KINDS = {Event.FINISHED: "success", Event.FAILED: "failure"}

_log = logging.getLogger("worker")


class Post(Protocol):
    """What takes messages to people."""

    def send(self, message: Message, link: str) -> tuple[set[int], str]:
        """Returns which services have it now, by place, and what went wrong; empty when nothing did."""


class Services:
    """The services behind the addresses of the settings. No address leaves this class: a place and a kind do."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    def send(self, message: Message, link: str) -> tuple[set[int], str]:
        """Send to each service that does not have the message yet."""
        done, problem = set(message.sent_to) & set(range(len(self._urls))), ""
        body = f"{message.body}\n{link}".strip()
        for place, url in enumerate(self._urls):
            if place in done:
                continue
            if _notify(url, message.title, body, _KINDS.get(message.event, "warning")):
                done.add(place)
            else:
                problem = f"Service {place + 1} ({url.partition(':')[0]}) did not take the message."
        return done, problem


def unknown_services(urls: Sequence[str]) -> list[int]:
    """Places, from 1, of the addresses that apprise does not understand."""
    return [place for place, url in enumerate(urls, start=1) if _service(url) is None]


def _service(url: str) -> "NotifyBase | None":
    from apprise import Apprise, AppriseAsset, PersistentStoreMode  # takes a moment, and few have services

    # It would name hosts, and with them parts of addresses.
    library = logging.getLogger("apprise")
    library.propagate, library.handlers = False, [logging.NullHandler()]
    asset = AppriseAsset(storage_mode=PersistentStoreMode.MEMORY)
    return Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


def _notify(url: str, title: str, body: str, kind: str) -> bool:
    try:
        from apprise import Apprise, NotifyFormat, NotifyType

        if (service := _service(url)) is None:
            return False
        mail, notify_type = Apprise(service), NotifyType(kind)
        return bool(mail.notify(title=title, body=body, notify_type=notify_type, body_format=NotifyFormat.TEXT))
    except Exception:  # of any plugin; its text may hold the address
        return False


class Notifications:
    """Called every tick of the worker; what takes time happens in a thread."""

    def __init__(
        self,
        outbox: OutboxStore,
        data_dir: Path,
        settings: NotifySettings,
        *,
        post: Post | None = None,
        pauses_s: tuple[float, float] = PAUSES_S,
        space_problem: Callable[[Path], str] = space_problem,
        now: Callable[[], float] = time.time,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._outbox = outbox
        self._data_dir = data_dir
        self._settings = settings
        self._post = post or Services(settings.urls)
        self._pauses_s = pauses_s
        self._space_problem = space_problem
        self._now = now
        self._look_every_s = look_every_s
        self._thread: threading.Thread | None = None
        self._look_at = self._disk_at = -float("inf")
        self._has_mail = False

    def tick(self) -> bool:
        """Start sending what is due; True while a message waits. Raises StoreError."""
        if self._thread is not None and self._thread.is_alive():
            return True
        now = time.monotonic()
        if now < self._look_at:
            return self._has_mail
        self._look_at = now + self._look_every_s
        self._watch_disk(now)
        self._has_mail = self._outbox.has_unsent()
        if self._has_mail:
            # A daemon: a worker that has to go does not wait for a service.
            self._thread = threading.Thread(target=self._send_all, name="notifications", daemon=True)
            self._thread.start()
        return self._has_mail

    def has_mail(self) -> bool:
        """Whether a message waits, so that a worker is needed."""
        return self._outbox.has_unsent()

    def _watch_disk(self, now: float) -> None:
        if now < self._disk_at or Event.DISK not in self._settings.events:
            return
        self._disk_at = now + DISK_EVERY_S
        with contextlib.suppress(OSError):
            if problem := self._space_problem(self._data_dir):
                self._outbox.put([disk_news(problem, f"{datetime.now(UTC):%Y-%m-%d}")], self._now())

    def _send_all(self) -> None:
        try:
            self._outbox.forget_old(self._now())
            while (message := self._outbox.claim(self._now(), self._pauses_s)) is not None:
                sent_to, problem = self._post.send(message, self._link(message))
                self._outbox.note(message, sent_to, problem, self._now())
        except Exception as error:  # the message is due again after its pause
            _log.warning("A notification could not be sent (%s).", type(error).__name__)

    def _link(self, message: Message) -> str:
        if not self._settings.link:
            return ""
        if message.sweep_id:
            return f"{self._settings.link}/jobs?sweep={message.sweep_id}"
        return f"{self._settings.link}/job?id={message.job_id}" if message.job_id else self._settings.link
