"""How well logs are explained: per kind of case what is right, likely, unknown, wrong; and under launchers' prefixes.

Run: uv run python -m tests.benchmarks.bench_explain [--wrong]
"""

import io
import sys
from collections import Counter, defaultdict

from lib.jobs.explain import explain_log
from tests.benchmarks.bench_log import blocks, seconds
from tests.jobs.cases import Case, cases, explained, verdict_on
from tests.jobs.prefixes import PREFIXES, prefixed


def main(*, shows_wrong: bool) -> None:
    """Print the tables."""
    kinds: dict[str, list[Case]] = defaultdict(list)
    for case in cases():
        kinds[case.kind].append(case)
    print(
        f"{'kind':20}{'cases':>7}{'right':>7}{'likely':>8}{'unknown':>9}{'wrong':>7}{'words':>7}{'steps':>7}{'loss':>6}"
    )
    total: Counter[str] = Counter()
    for kind, members in sorted(kinds.items()):
        counts: Counter[str] = Counter()
        for case in members:
            found = verdict_on(case, explained(case, case.log))
            counts.update(found)
            if (shows_wrong and not {"words", "steps", "loss"} <= found) or "wrong" in found:
                print(f"  {case.file}: {sorted(found)}")
        total += counts
        print_row(kind, len(members), counts)
    print_row("all", sum(map(len, kinds.values())), total)
    changed = [
        f"{case.file} {name}"
        for case in cases()
        for name in PREFIXES
        if prefixed(case, name) is not None and differs(case, name)
    ]
    print(f"\n{len(PREFIXES)} prefixes before {len(cases())} logs: {len(changed)} say something else")
    if shows_wrong:
        print("\n".join(changed))
    print(f"\n{'MB/s':20}{'explain':>8}")
    for name, data in blocks().items():
        spent = seconds(lambda data=data: explain_log(io.BytesIO(data), cases()[0].running, None))  # type: ignore[misc]
        print(f"{name:20}{len(data) / 1e6 / spent:8.1f}")


def print_row(kind: str, count: int, counts: Counter[str]) -> None:
    """One line of the table."""
    words = ("right", "likely", "unknown", "wrong", "words", "steps", "loss")
    widths = (7, 8, 9, 7, 7, 7, 6)
    cells = "".join(f"{counts[word]:{width}}" for word, width in zip(words, widths, strict=True))
    print(f"{kind:20}{count:7}{cells}")


def differs(case: Case, name: str) -> bool:
    """Whether a prefix before every line changes what is found."""
    keys = ("status", "cause", "message", "step", "total_steps", "loss", "phase")
    plain, other = explained(case, case.log), explained(case, prefixed(case, name) or b"")
    return any(plain[key] != other[key] for key in keys)


if __name__ == "__main__":
    main(shows_wrong="--wrong" in sys.argv)
