"""Logs of many trainers, with what is true of each (``tests/recordings/cases/cases.tsv``)."""

import csv
import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lib.jobs.explain import Ended, explain_log

CASES = Path(__file__).parent.parent / "recordings" / "cases"


@dataclass(frozen=True)
class Case:
    """One log, and what is true of it; None: nothing is said, or nothing is there."""

    file: str
    kind: str
    source: str
    exit_code: int | None
    causes: frozenset[str]
    words: tuple[str, ...]
    step: int | None
    total: int | None
    loss: float | None

    @property
    def log(self) -> bytes:
        return (CASES / "logs" / self.file).read_bytes()

    @property
    def running(self) -> Ended:
        return Ended()


@cache
def cases() -> tuple[Case, ...]:
    """All cases."""
    with (CASES / "cases.tsv").open(encoding="utf-8") as file:
        return tuple(_case(row) for row in csv.DictReader(file, delimiter="\t"))


def _case(row: dict[str, str]) -> Case:
    said = {key: None if value == "-" else value for key, value in row.items()}
    return Case(
        file=row["file"],
        kind=row["kind"],
        source=row["source"],
        exit_code=int(said["exit_code"]) if said["exit_code"] else None,
        causes=frozenset((said["cause"] or "").split("|")) - {""},
        words=tuple((said["words"] or "").split("|")) if said["words"] else (),
        step=int(said["step"]) if said["step"] else None,
        total=int(said["total"]) if said["total"] else None,
        loss=float(said["loss"]) if said["loss"] else None,
    )


def explained(case: Case, log: bytes) -> dict[str, Any]:
    """What is said of a log that ended as the case did."""
    return explain_log(io.BytesIO(log), Ended(exit_code=case.exit_code), None)


def verdict_on(case: Case, report: dict[str, Any]) -> set[str]:
    """Words for what is right in a report: right, likely, unknown or wrong; words, steps, loss."""
    cause, said = report["cause"], " ".join([report["message"], *report["evidence"]]).lower()
    if cause in case.causes or (cause is None and not case.causes):
        found = {"likely" if report["confidence"] == "likely" else "right"}
    else:
        found = {"unknown" if cause == "unknown" else "wrong"}
    if not case.words or any(word.lower() in said for word in case.words):
        found.add("words")
    if (report["step"], report["total_steps"]) == (case.step, case.total):
        found.add("steps")
    if str(report["loss"]) == str(case.loss):  # no NaN equals another
        found.add("loss")
    return found
