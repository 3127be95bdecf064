"""How wrong is the ETA? Replays every recording with its times and compares with tqdm's own ETA.

The truth is the moment the last step is finished, which is what tqdm's ETA aims at too (what some
scripts do after it, such as a final sampling, nobody can know from the log before). Judged at every
repaint of the training bar in the second half of the steps; the median of |ETA - truth| / truth.

Run: uv run python -m tests.benchmarks.bench_eta
"""

import re
from statistics import median

from lib.jobs.progress import ProgressParser
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


def main() -> None:
    """Print the table."""
    print(f"{'recording':46}{'ours':>8}{'tqdm':>8}{'judged':>8}")
    for name in RECORDINGS:
        if found := errors(name):
            ours, theirs, count = found
            note = "" if ours <= min(0.2, theirs) else "  over 20 %" if ours > 0.2 else "  worse than tqdm"
            print(f"{name:46}{ours:8.0%}{theirs:8.0%}{count:8}{note}")


if __name__ == "__main__":
    main()
