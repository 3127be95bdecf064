"""How long the worker waits, and how much it does at once."""

from dataclasses import dataclass

from lib.embedded.watching.life import LifeLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """The defaults are for people; tests shorten them.

    Attributes:
        idle_grace_s: How long a worker stays without work.
        hold_s: Pause after the disk or the database kept a job from starting.
        stop_grace_s: Between SIGTERM and SIGKILL.
        gone_after_s: An attempt's folder that is missing for so long, with no process left, counts as deleted.
        out_of_reach_s: An attempt whose executor this worker does not have counts as lost after so long.
        start_for_s: How long one round starts jobs; one of each executor's queue is always started.
        write_every_s: How often progress is recorded and files are looked for.
        read_at_once_bytes: How much of a log is read at once.
        read_for_s: How long one look reads a log, however much there is.
        skip_behind_bytes, read_after_skip_bytes: A log that is further behind its end is read again from there.
        watch_look_s: Between two looks at the processes that write a watched run.
        life: When a watched run counts as ended.
        upload_pauses_s: Before the second, third, … try of an upload.
    """

    idle_grace_s: float = 3.0
    hold_s: float = 5.0
    stop_grace_s: float = 10.0
    gone_after_s: float = 30.0
    out_of_reach_s: float = 900.0
    start_for_s: float = 0.25
    write_every_s: float = 1.0
    read_at_once_bytes: int = 256 << 10
    read_for_s: float = 0.25
    skip_behind_bytes: int = 32 << 20
    read_after_skip_bytes: int = 4 << 20
    watch_look_s: float = 2.0
    life: LifeLimits = LifeLimits()  # noqa: RUF009 (frozen)
    upload_pauses_s: tuple[float, ...] = (1.0, 3.0)


DEFAULT_LIMITS = WorkerLimits()
