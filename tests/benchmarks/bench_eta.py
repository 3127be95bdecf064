"""How wrong is the ETA? Replays every recording with its times and compares with tqdm's own ETA.

The truth is the moment the last step is finished, which is what tqdm's ETA aims at too (what some
scripts do after it, such as a final sampling, nobody can know from the log before). Judged at every
repaint of the training bar in the second half of the steps; the median of |ETA - truth| / truth.
The constants of the estimate were chosen with these seven in view; made-up runs of other kinds stand
beside them, so that it is not right for these alone.

Run: uv run python -m tests.benchmarks.bench_eta
"""

import math
import random
import re
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from lib.jobs.logs.eta import StepPace
from lib.jobs.logs.progress import ProgressParser
from tests.jobs.recordings import RECORDINGS, chunks_of, meta

_TRAINING_FRAME = re.compile(rb"[\r\n][sS]teps: +\d+%\|[^|]*\| (\d+)/(\d+) \[[\d:]+<([\d:]+|\?)")


def printed_eta_s(text: str) -> float | None:
    """tqdm's ``H:MM:SS`` in seconds."""
    if text == "?":
        return None
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return float(seconds)


def replay(name: str) -> list[tuple[float, int, float | None, float | None]]:
    """(time, step of the bar, our ETA, tqdm's ETA) at every repaint of the training bar."""
    parser = ProgressParser()
    moments = []
    for at, data in chunks_of(name):
        parser.feed(data, at)
        frames = _TRAINING_FRAME.findall(b"\n" + data)
        if frames:
            done, _, eta = frames[-1]
            moments.append((at, int(done), parser.progress.eta_s, printed_eta_s(eta.decode())))
    return moments


def errors(name: str) -> tuple[float, float, int] | None:
    """Median relative error of our ETA and of tqdm's, and how many repaints were judged."""
    moments = replay(name)
    if meta(name)["exit_code"] != 0 or not moments:
        return None
    first, last = moments[0][1], moments[-1][1]
    end = next(at for at, step, *_ in moments if step == last)
    judged = [(end - at, ours, theirs) for at, step, ours, theirs in moments if 2 * step >= first + last and at < end]
    ours = [abs(eta - left) / left for left, eta, _ in judged if eta is not None]
    theirs = [abs(eta - left) / left for left, _, eta in judged if eta is not None]
    return median(ours), median(theirs), len(ours)


# How long step number ``at`` takes in a run of its kind.
MADE_UP: dict[str, Callable[[random.Random, int], float]] = {
    "steady": lambda chance, at: math.exp(chance.gauss(0, 0.01)),
    "noisy": lambda chance, at: math.exp(chance.gauss(0, 0.3)),
    "every 2nd slow": lambda chance, at: 1.5 if at % 2 else 0.5,
    "every 4th slow": lambda chance, at: (2.2 if at % 4 == 3 else 0.6) * math.exp(chance.gauss(0, 0.02)),
    "every 10th slow": lambda chance, at: (3.0 if at % 10 == 9 else 0.7) * math.exp(chance.gauss(0, 0.02)),
    "two sizes of images": lambda chance, at: chance.choice((0.6, 1.4)),
    "three sizes of images": lambda chance, at: chance.choice((0.5, 0.8, 0.8, 1.3)),
    "hiccups": lambda chance, at: 8.0 if chance.random() < 0.02 else math.exp(chance.gauss(0, 0.02)),
}


def made_up_errors(kind: str, seeds: int = 4, steps: int = 200) -> tuple[float, float, float]:
    """Median relative error over the second half, ours and tqdm's, and our largest jump from step to step."""
    ours, theirs, jumps = [], [], []
    for seed in range(seeds):
        chance, pace = random.Random(seed), StepPace()
        ends = [0.0]
        for at in range(steps):
            ends.append(ends[-1] + MADE_UP[kind](chance, at))
        rate, share, etas = 0.0, 0.0, []
        for step, (before, end) in enumerate(pairwise(ends), 1):
            rate, share = 0.3 * (end - before) + 0.7 * rate, 0.3 + 0.7 * share  # tqdm's moving average
            pace.steps_done(step, end)
            if steps // 2 <= step < steps - 1:
                eta = pace.eta_s(steps, end) or math.inf
                left = ends[-1] - end
                ours.append(abs(eta - left) / left)
                theirs.append(abs((steps - step) * rate / share - left) / left)
                etas.append(eta / (steps - step))
        jumps += [abs(new / old - 1) for old, new in pairwise(etas)]
    return median(ours), median(theirs), max(jumps)


def main() -> None:
    """Print the table."""
    print(f"{'recording':46}{'ours':>8}{'tqdm':>8}{'judged':>8}")
    for name in RECORDINGS:
        if found := errors(name):
            ours, theirs, count = found
            note = "" if ours <= min(0.2, theirs) else "  over 20 %" if ours > 0.2 else "  worse than tqdm"
            print(f"{name:46}{ours:8.0%}{theirs:8.0%}{count:8}{note}")
    print(f"\n{'made-up run':46}{'ours':>8}{'tqdm':>8}{'largest jump':>14}")
    for kind in MADE_UP:
        ours, theirs, jump = made_up_errors(kind)
        print(f"{kind:46}{ours:8.0%}{theirs:8.0%}{jump:14.0%}")


if __name__ == "__main__":
    main()
