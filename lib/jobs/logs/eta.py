"""How fast a training goes and when it will end.

The remaining time of a bar jumps after every save and every sampling, because their time is
counted into the rate. Here plain steps and pauses are told apart.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log
from statistics import fmean as mean
from statistics import median
from types import MappingProxyType

from lib.jobs.job import Progress, Stage
from lib.jobs.training_settings import TrainingSettings

MIN_STEPS = 5
# Logs are read a few times a second: shorter steps are measured several at a time. The longer a
# training has run, the more, up to some seconds: else one second of a run of hours would decide
# about its end.
SHORTEST_S, LONGEST_S = 0.5, 10.0
SHORTEST_SHARE = 0.01
RECENT = 20
# How the next steps are estimated. Chosen with the recordings and the made-up runs of
# tests/benchmarks/bench_eta.py in view, in the middle of ranges that do about as well.
HORIZON, FADING, DOUBT = 11, 0.9, 0.05
NEWEST, CHANGED = 3, 1.1
SMOOTHING, KNOWN_STEPS, SPREADS = 0.5, 9, 4
LEAST_TRUSTED, MOST_TRUSTED = 1.1, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPause:
    """A pause that no one has seen yet in this run, but in a former one like it.

    Attributes:
        cost_s: Seconds beyond a plain step.
        every_steps: None where it comes so many ``times`` in a whole run.
    """

    cost_s: float
    every_steps: float | None = None
    times: float = 1.0

    def count_to_come(self, step: int, total: int) -> int:
        """How many are due after ``step`` and before ``total``."""
        period = self.period(total)
        return max(0, int((total - 1) // period) - int(step // period))

    def period(self, total: int) -> float:
        """After how many steps it comes again."""
        return max(1.0, self.every_steps or total / self.times)


@dataclass(slots=True)
class _Pauses:
    """When pauses of one kind happened, and what the last ones cost beyond a plain step.

    ``every`` is the rhythm of those that ended: one after the last step is often out of it.
    """

    steps: list[int] = field(default_factory=list)
    costs_s: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    expected_s: float = 0.0
    every: int = 0

    @property
    def cost_s(self) -> float:
        return max(0.0, median(self.costs_s)) if self.costs_s else self.expected_s

    def count_to_come(self, step: int, total: int, first: int) -> int:
        """How many are due from after the last one up to ``total``, at the rhythm seen so far, else every ``first``."""
        last = self.steps[-1]
        period = last - self.steps[-2] if len(self.steps) > 1 else first
        if period <= 0:
            return 0
        if step - last > period:  # The rhythm was wrong: one was due and did not happen.
            period *= -(-(step - last) // period)
        # A pause due at the last step comes after the training.
        return max(0, (total - 1 - last) // period - max(0, step - 1 - last) // period)


class StepPace:
    """Measures step times and pauses of one attempt. Times are seconds on any steady clock.

    Args:
        known_s: Seconds per plain step as measured before, by whoever followed the attempt until now.
        expected: Kind -> what former runs tell of pauses before the first one is seen.
    """

    def __init__(
        self,
        *,
        known_s: float | None = None,
        expected: Mapping[str, ExpectedPause] = MappingProxyType({}),
    ) -> None:
        self._expected = expected
        self._plain_s: deque[float] = deque([] if known_s is None else [known_s], maxlen=RECENT)
        self._short_s, self._short_count = 0.0, 0
        self._plain_count = 0
        self._pauses: dict[str, _Pauses] = {}
        self._start: int | None = None
        self._step = 0
        self._step_at = 0.0
        self._paused: list[str] = []
        self._measured = 0 if known_s is None else MIN_STEPS

    def steps_done(self, step: int, at: float) -> None:
        """Note that ``step`` steps are finished now."""
        if self._start is None:
            self._start, self._step, self._step_at = step, step, at
            self._paused.clear()
            return
        count, seconds = step - self._step, at - self._step_at
        if count <= 0:
            return
        # No time between steps: a log read late, all at once. Less than none: a clock set back.
        if seconds > 0:
            self._close_interval(seconds, count)
        self._paused.clear()
        self._step, self._step_at = step, at

    def steps_done_unseen(self, step: int) -> None:
        """Note that ``step`` steps are finished, nobody saw when: times count again from the next one on."""
        # The log was read from its first line, so its steps began at 0.
        self._start = 0 if self._start is None else self._start
        if step > self._step:
            self._step = step
            self._paused.clear()
        self._step_at = inf

    def paused(self, kind: str) -> None:
        """Note that something else than a step happens now: ``saving`` or ``sampling``."""
        if self._start is None or kind in self._paused:
            return
        self._paused.append(kind)
        expected = self._expected.get(kind)
        pauses = self._pauses.setdefault(kind, _Pauses(expected_s=expected.cost_s if expected else 0.0))
        if not pauses.steps or pauses.steps[-1] != self._step:
            pauses.steps = [*pauses.steps[-1:], self._step]

    @property
    def seconds_per_step(self) -> float | None:
        """Median of recent plain steps; None before 5 steps were measured."""
        seconds = self._recent_s()
        return median(seconds) if seconds else None

    def eta_s(self, total: int, at: float) -> float | None:
        """Seconds from ``at`` until step ``total`` is done, with the pauses expected before it.

        After the last step: what is left of the pause that began then, if its cost is known.
        """
        seconds = self._recent_s()
        if not seconds or self._start is None:
            return None
        per_step = expected_s(seconds)
        left = (total - self._step) * per_step
        for kind, pauses in self._pauses.items():
            known = self._expected.get(kind)
            first = round(known.period(total)) if known else pauses.steps[-1] - self._start
            due = pauses.count_to_come(self._step, total, first)
            left += (due + (kind in self._paused)) * pauses.cost_s
        for kind, expected in self._expected.items():
            if kind not in self._pauses:
                left += expected.count_to_come(self._step, total) * expected.cost_s
        current = (per_step if self._step < total else 0.0) + sum(self._pauses[k].cost_s for k in self._paused)
        return max(0.0, left - min(current, max(0.0, at - self._step_at)))

    @property
    def measured_pauses(self) -> tuple[tuple[str, int, float], ...]:
        """Kind, every how many steps, and cost in seconds, of the pauses that came to an end."""
        return tuple((kind, each.every, each.cost_s) for kind, each in self._pauses.items() if each.every)

    def _recent_s(self) -> list[float]:
        if self._measured < MIN_STEPS:
            return []
        if self._plain_s or not self._short_count:
            return list(self._plain_s)
        return [self._short_s / self._short_count]

    def _close_interval(self, seconds: float, count: int) -> None:
        self._measured += count
        if self._paused:
            if known := self._recent_s():
                self._charge(seconds - count * median(known))
            for kind in self._paused:
                pauses = self._pauses[kind]
                pauses.every = pauses.steps[-1] - (pauses.steps[-2] if len(pauses.steps) > 1 else self._start or 0)
            return
        self._plain_count += count
        self._short_s += seconds
        self._short_count += count
        is_share = self._short_count >= SHORTEST_SHARE * self._plain_count
        if self._short_s >= LONGEST_S or (self._short_s >= SHORTEST_S and is_share):
            self._plain_s.append(self._short_s / self._short_count)
            self._short_s, self._short_count = 0.0, 0

    def _charge(self, excess_s: float) -> None:
        """Book what a pause cost; of several at once, the one whose cost is least known takes the rest."""
        *known, rest = sorted(self._paused, key=lambda kind: (-len(self._pauses[kind].costs_s), kind == "sampling"))
        excess_s -= sum(self._pauses[kind].cost_s for kind in known)
        self._pauses[rest].costs_s.append(excess_s)


def expected_pauses(settings: TrainingSettings, former: Progress | None) -> dict[str, ExpectedPause]:
    """What a former run of the same configuration tells of the pauses of one with these settings.

    Pauses come every so many epochs, unless the settings say every so many steps.
    """
    if former is None or not former.total_steps:
        return {}
    longer = settings.epochs / former.total_epochs if former.total_epochs else 1.0
    by_steps = {"saving": settings.save_every_steps, "sampling": settings.sample_every_steps}
    return {
        kind: ExpectedPause(
            cost_s=cost_s,
            every_steps=every if by_steps.get(kind) else None,
            times=max(1.0, longer * former.total_steps / every),
        )
        for kind, every, cost_s in former.pauses
        if kind != Stage.SAMPLING or settings.sample_prompts
    }


def expected_s(seconds: Sequence[float]) -> float:
    """What the next steps will take each, from recent plain steps, oldest first.

    Two forecasts stand for two kinds of runs: one follows a pace that changes, the plain mean knows
    that steps differ again and again (images of several sizes, a slow loader). Whichever would have
    told the next steps better lately is taken, the first one when in doubt.
    """
    followed_miss = mean_miss = 0.0
    horizon, weight, weights = min(HORIZON, max(1, len(seconds) // 2)), 1.0, 0.0
    for known in range(len(seconds) - horizon, 0, -1):
        before, came = seconds[:known], mean(seconds[known : known + horizon])
        followed_miss += weight * abs(log(followed_s(before) / came))
        mean_miss += weight * abs(log(mean(before) / came))
        weights += weight
        weight *= FADING
    return mean(seconds) if followed_miss > mean_miss + DOUBT * weights else followed_s(seconds)


def followed_s(seconds: Sequence[float]) -> float:
    """Where a pace that changes has come to.

    When the newest steps all lie clearly on one side of the median it has changed, and the last of
    them tells most. Otherwise exponential smoothing of the logarithms, in which a single step counts
    only as far as steps of this run usually differ: a hiccup in a steady run moves it by a few
    percent, while of a run not known yet each step may say much.
    """
    usual, newest = median(seconds), seconds[-NEWEST:]
    has_changed = min(newest) > CHANGED * usual or max(newest) * CHANGED < usual
    if len(seconds) > NEWEST and has_changed:
        return newest[-1]
    furthest = log(MOST_TRUSTED)
    if len(seconds) >= KNOWN_STEPS:
        spread = median(abs(log(value / usual)) for value in seconds)
        furthest = min(furthest, max(log(LEAST_TRUSTED), SPREADS * spread))
    level = log(usual)
    for value in seconds:
        level += SMOOTHING * max(-furthest, min(furthest, log(value) - level))
    return exp(level)
