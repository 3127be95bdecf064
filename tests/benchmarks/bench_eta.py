"""How wrong is the ETA? Replays every recording with its times and compares with tqdm's own ETA.

The truth is the moment of the last output of the training (the last frame of the bar, with the
saves and samples before it). Judged at every repaint of the training bar in the second half of
the training; the median of |ETA - truth| / truth is printed.

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


def errors(name: str, *, to_last_step: bool) -> tuple[float | None, float | None, int]:
    """Median relative error of our ETA and of tqdm's over the second half, and how many moments."""
    moments = replay(name)
    if meta(name)["exit_code"] != 0 or len(moments) < 4:
        return None, None, 0
    last_step = moments[-1][1]
    end = next(at for at, step, *_ in moments if step == last_step) if to_last_step else moments[-1][0]
    half = (moments[0][0] + end) / 2
    judged = [moment for moment in moments if half <= moment[0] < end]
    ours = [abs(eta - (end - at)) / (end - at) for at, _, eta, _ in judged if eta is not None]
    theirs = [abs(eta - (end - at)) / (end - at) for at, _, _, eta in judged if eta is not None]
    return (median(ours) if ours else None), (median(theirs) if theirs else None), len(ours)


def main() -> None:
    """Print the table."""
    print(f"{'recording':46}{'ours':>8}{'tqdm':>8}{'moments':>9}   {'to the last step: ours':>22}{'tqdm':>8}")
    for name in RECORDINGS:
        whole, steps = errors(name, to_last_step=False), errors(name, to_last_step=True)
        if whole[2]:
            print(f"{name:46}{percent(whole[0])}{percent(whole[1])}{whole[2]:>9}   {percent(steps[0]):>22}{percent(steps[1])}")


def percent(value: float | None) -> str:
    """A share as text of 8 characters."""
    return f"{'unknown' if value is None else f'{value:.0%}':>8}"


if __name__ == "__main__":
    main()
