"""An index of all training jobs of a deployment: the API has no total, no sorting and no search.

While anyone is looking, the newest, running and pending rows are read every few seconds, one request per interval
however many viewers there are. The whole list is walked once, and then rarely.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from lib.errors import BadPayload, SourceError, SourceUnavailable
from lib.jobs.job import JobStatus
from lib.jobs.query import JobPage, JobQuery
from lib.sources.influencerai.api_errors import AnswerTooLarge, NotFound, TooSlow
from lib.sources.influencerai.client import InfluencerClient, path_of
from lib.sources.influencerai.index_rows import JobRows, Names
from lib.sources.influencerai.page_size import PageSize
from lib.sources.influencerai.snapshot import JOB_TYPE, Snapshot, read_snapshot, read_snapshots
from lib.sources.protocol import OutcomeBucket, count_outcomes
from lib.sources.reads import Reads

# Deletions during a walk shift the rows, so a few rows are read twice to skip none.
OVERLAP_ROWS = 5
MOST_CHECKS = 50
# The first walk reads this many rows before anything else has its turn: a small deployment is complete at once.
FIRST_ROWS = 1_000
ACTIVE = {"running": JobStatus.RUNNING, "pending": JobStatus.PENDING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How often the API is asked, in seconds.

    Attributes:
        interval_s: Between two requests in steady state.
        newest_s, active_s, names_s, walk_s: Between two reads of the newest rows, of the running and the pending
            ones, of the names of datasets and configurations, and between two walks over everything.
        new_name_s: Between two reads of the names while a job refers to one that is not known.
        first_wait_s: The longest that the first look waits for all rows.
        watched_s: How long reading goes on after the last look.
        stale_s: Age at which a viewer waits for fresh rows, and is told if none come.
        wait_s: The longest such wait.
        back_off_s: After a failure.
        unanswered_s, unreadable_s: How long a single job is left alone after no response, and after a bad one.
    """

    interval_s: float = 2.0
    newest_s: float = 4.0
    active_s: float = 4.0
    names_s: float = 300.0
    new_name_s: float = 10.0
    first_wait_s: float = 1.0
    walk_s: float = 600.0
    watched_s: float = 30.0
    stale_s: float = 6.0
    wait_s: float = 2.0
    back_off_s: float = 4.0
    unanswered_s: float = 60.0
    unreadable_s: float = 600.0


@dataclass(kw_only=True)
class _Walk:
    """A walk over all rows, or over those of one status; ``expected`` are the jobs it should meet."""

    began_at: datetime
    expected: frozenset[str] = frozenset()
    skip: int = 0
    seen: set[str] = field(default_factory=set)


class JobIndex:
    """Answers lists from memory. Without ``background``, whatever is due is read when someone looks."""

    def __init__(
        self,
        client: InfluencerClient,
        rows: JobRows,
        *,
        reads: Reads,
        fetch_names: Callable[[], Names],
        intervals: Intervals | None = None,
        background: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._rows, self._fetch_names = client, rows, fetch_names
        self._intervals = intervals or Intervals()
        self._background = background
        self._now, self._clock = now, clock
        self._tasks: dict[str, Callable[[], None]] = {  # of those that are due at the same time, the first is done
            "newest": self._read_newest,
            "walk": self._walk_on,
            "running": lambda: self._read_active("running"),
            "pending": lambda: self._read_active("pending"),
            "names": self._read_names,
            "check": self._check_one,
        }
        self._due = dict.fromkeys(self._tasks, self._clock()) | {"check": float("inf")}
        self._names_at = float("-inf")
        self._sizes = {name: PageSize() for name in self._tasks}
        self._walk: _Walk | None = None
        self._active_walks: dict[str, _Walk] = {}
        self._is_whole = self._newest_are_all = False
        self._missed: set[str] = set()
        self._checks: dict[str, None] = {}
        self._left_alone: dict[str, float] = {}  # job -> until when
        self._skipped = dict.fromkeys(self._tasks, 0)
        self._read_at: dict[str, datetime] = {}  # task -> when it last went well
        self._errors: dict[str, SourceError] = {}  # task -> why it last went wrong
        self._reads = reads
        self._stepping = threading.Lock()
        self._turn = threading.Condition()  # guards the three below; notified after every step
        self._looked_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def page(self, query: JobQuery) -> JobPage:
        """One page, with a note on what is missing or stale. Raises only while nothing is known at all."""
        self._look()
        missing = self._missing()  # read first, so that rows arriving meanwhile are not taken for all of them
        page = self._rows.select(query, self._now())
        return replace(page, skipped_rows=max(self._skipped.values()), incomplete=missing)

    def count(self) -> Mapping[JobStatus, int]:
        """How many of the known jobs have each status."""
        self._look()
        return self._rows.count()

    def outcomes(self, window: str) -> list[OutcomeBucket]:
        """How the known jobs ended; empty until all are known. The API's own series counts every type and tenant."""
        self._look()
        return count_outcomes(self._rows.all(), window, self._now()) if self._is_whole else []

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        with self._turn:
            thread = self._thread
        if thread is not None:
            thread.join()

    def step(self) -> float:
        """Read whatever is most overdue. Returns the seconds until the next step."""
        with self._stepping:
            name = min(self._due, key=lambda each: self._due[each])
            if self._due[name] > self._clock():
                return min(self._intervals.interval_s, self._due[name] - self._clock())
            try:
                self._tasks[name]()
                self._went_well(name)
            except SourceError as error:
                self._errors[name] = error
            self._plan(name)
            has_failed = name in self._errors
        with self._turn:
            self._turn.notify_all()
        if has_failed and name == "newest":
            return self._intervals.back_off_s
        return self._intervals.interval_s if self._is_whole or has_failed else 0.0

    def _plan(self, name: str) -> None:
        """Set when the task is due again."""
        intervals, now = self._intervals, self._clock()
        spans_s = {"newest": intervals.newest_s, "names": intervals.names_s, "walk": intervals.walk_s}
        wait_s = spans_s.get(name, intervals.active_s)
        if name in self._errors:
            wait_s = intervals.back_off_s
        elif name == "walk" and self._walk is not None:
            if not self._is_whole and self._walk.skip < FIRST_ROWS:
                return  # still due, and before all others
            wait_s = intervals.interval_s if self._is_whole else 0.0
        elif name == "check":
            wait_s = intervals.interval_s
        self._due[name] = now + wait_s
        if self._rows.lacks_names and "names" not in self._errors:
            self._due["names"] = min(self._due["names"], self._names_at + intervals.new_name_s)
        if not self._checks:
            self._due["check"] = float("inf")
        elif self._due["check"] == float("inf"):
            self._due["check"] = now

    def _went_well(self, name: str) -> None:
        self._read_at[name] = self._now()
        self._errors.pop(name, None)

    def _look(self) -> None:
        """Make sure that the rows are fresh, because someone is looking."""
        if "newest" not in self._read_at:
            self._reads.read("first rows", self._read_first, ttl_s=0)
        if not self._background:
            self._catch_up()
            return
        with self._turn:
            self._looked_at = self._clock()
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="influencerai-index", daemon=True)
                self._thread.start()
                if not self._is_whole:
                    self._turn.wait_for(lambda: self._is_whole or self._errors, self._intervals.first_wait_s)
                elif self._age_s("newest") > self._intervals.stale_s:
                    self._turn.wait_for(
                        lambda: self._age_s("newest") < self._intervals.stale_s or "newest" in self._errors,
                        self._intervals.wait_s,
                    )

    def _read_first(self) -> bool:
        with self._stepping:
            if "newest" not in self._read_at:
                self._read_newest()
                self._went_well("newest")
                self._plan("newest")
        return True

    def _catch_up(self) -> None:
        for _ in range(len(self._tasks)):
            self.step()
            while self._walk is not None and not self._errors.keys() & {"walk", "newest"}:
                self.step()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set() and self._is_wanted():
                self._stopped.wait(self.step())
        except BaseException:
            self._leave()  # the next look starts a new thread
            raise

    def _is_wanted(self) -> bool:
        """Whether to go on; if not, the next look starts a new thread."""
        with self._turn:
            is_watched = self._clock() - self._looked_at < self._intervals.watched_s
            if is_watched or not (self._is_whole or self._errors):
                return True
            self._thread = None
            return False

    def _leave(self) -> None:
        with self._turn:
            self._thread = None

    def _age_s(self, name: str) -> float:
        """How long ago the task last went well."""
        at = self._read_at.get(name)
        return (self._now() - at).total_seconds() if at else float("inf")

    def _missing(self) -> str:
        """What a viewer must know about the rows; empty when they are complete and fresh."""
        words = [self._staleness()]
        if not self._is_whole:
            error = self._errors.get("walk")
            older = f"the older ones cannot be read: {error}" if error else "the older ones are still being read."
            words.insert(0, f"{len(self._rows):,} jobs are read so far; {older}")
        return " ".join(filter(None, words))

    def _staleness(self) -> str:
        """Judged by the newest rows; while those arrive, older rows that cannot be read are named."""
        errors, read_at = dict(self._errors), dict(self._read_at)  # another thread writes them
        error, stale_s = errors.get("newest"), self._intervals.stale_s
        # Without an error the newest rows may just not have had their turn, so any response counts.
        at = read_at.get("newest") if error else max(read_at.values(), default=None)
        age_s = (self._now() - at).total_seconds() if at else 0.0
        if at and age_s >= stale_s and (error is not None or self._background):
            said = str(error).rstrip(".") if error else "The API takes its time to answer"
            return f"{said}; shown is the state of {at:%H:%M} UTC, {age_s:.0f} s ago."
        late = [each for each in ACTIVE if each in errors and self._age_s(each) >= stale_s]
        if self._newest_are_all:
            return ""
        return f"Older {' and '.join(late)} jobs are not up to date: {errors[late[0]]}" if late else ""

    def _fetch(self, name: str, skip: int = 0, **filters: str) -> tuple[list[Snapshot], int, bool]:
        """One page: its rows, how many were requested, whether it is the last. Asks for less if it is too large."""
        size = self._sizes[name]
        while True:
            take = size.rows
            try:
                answer = self._client.get_list("/jobs", {"type": JOB_TYPE, "take": take, "skip": skip, **filters}).data
            except AnswerTooLarge:
                if not size.was_too_large():
                    raise
                continue
            except TooSlow:
                size.was_too_slow()
                raise
            if not isinstance(answer, list):
                raise BadPayload(f"The InfluencerAI API at {self._client.host} sent something other than a list.")
            size.worked()
            snapshots, skipped = read_snapshots(answer)
            self._skipped[name] = skipped + (self._skipped[name] if skip else 0)
            ours = [each for each in snapshots if self._client.is_ours(each.tenant_id)]
            return ours, take, len(answer) < take

    def _read_newest(self) -> None:
        began_at = self._now()
        snapshots, take, is_last = self._fetch("newest")
        self._newest_are_all = is_last
        self._rows.take(snapshots, self._now())
        seen = {each.id for each in snapshots}
        if is_last:
            self._forget_missing(seen, self._now())
            self._walk, self._is_whole = None, True
            self._due["walk"] = self._clock() + self._intervals.walk_s
            return
        if not self._is_whole and self._walk is None:  # the first page of the first walk
            skip = take - min(OVERLAP_ROWS, take // 2)
            self._walk = _Walk(began_at=began_at, skip=skip, seen=seen.copy())
        times = [each.created_at for each in snapshots if each.created_at]
        if times:
            oldest = min(times)
            self._doubt(
                job.id for job in self._rows.all() if job.created_at and job.created_at > oldest and job.id not in seen
            )

    def _read_active(self, name: str) -> None:
        """The next page of the running or the pending rows."""
        status = ACTIVE[name]
        walk = self._active_walks.get(name)
        if walk is None:
            expected = frozenset(job.id for job in self._rows.all() if job.status is status)
            walk = self._active_walks[name] = _Walk(began_at=self._now(), expected=expected)
        if self._read_page(walk, name, status=status.value):
            del self._active_walks[name]
            missing = walk.expected - walk.seen
            self._doubt(job.id for job in self._rows.all() if job.id in missing and job.status is status)

    def _read_names(self) -> None:
        self._names_at = self._clock()
        self._rows.rename(self._fetch_names())

    def _walk_on(self) -> None:
        walk = self._walk = self._walk or _Walk(began_at=self._now())
        if self._read_page(walk, "walk"):
            self._forget_missing(walk.seen, walk.began_at)
            self._walk, self._is_whole = None, True

    def _read_page(self, walk: _Walk, name: str, **filters: str) -> bool:
        """Read the walk's next page. Returns whether it was the last."""
        try:
            snapshots, take, is_last = self._fetch(name, walk.skip, **filters)
        except AnswerTooLarge:
            walk.skip += 1  # skip a single row that is too large
            return False
        self._rows.take(snapshots, self._now())
        walk.seen.update(each.id for each in snapshots)
        walk.skip += take - min(OVERLAP_ROWS, take // 2)
        return is_last

    def _forget_missing(self, seen: set[str], began_at: datetime) -> None:
        """Drop jobs that two walks in a row did not find; check individually those that one walk missed."""
        old = (job for job in self._rows.all() if not job.created_at or job.created_at < began_at)
        missing = {job.id for job in old if job.id not in seen}
        for job_id in missing & self._missed:
            self._rows.forget(job_id)
        self._missed = missing - self._missed
        self._doubt(self._missed)

    def _doubt(self, job_ids: Iterable[str]) -> None:
        """Check each of these jobs individually, as they are not where they should be."""
        for job_id in job_ids:
            if len(self._checks) < MOST_CHECKS and self._left_alone.get(job_id, 0.0) <= self._clock():
                self._checks[job_id] = None

    def _check_one(self) -> None:
        job_id = next(iter(self._checks))
        del self._checks[job_id]
        try:
            snapshot = read_snapshot(self._client.get(path_of("jobs", job_id)))
            self._rows.take([snapshot] if self._client.is_ours(snapshot.tenant_id) else [], self._now())
        except NotFound:
            self._rows.forget(job_id)
        except SourceError as error:
            is_silent = isinstance(error, SourceUnavailable)
            self._leave_alone(job_id, self._intervals.unanswered_s if is_silent else self._intervals.unreadable_s)
            raise

    def _leave_alone(self, job_id: str, span_s: float) -> None:
        now = self._clock()
        self._left_alone = {each: until for each, until in self._left_alone.items() if until > now}
        self._left_alone[job_id] = now + span_s
