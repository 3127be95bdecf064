"""What came of trying whether a trainer can be started at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerCheck:
    """One try: the trainer's own ``--help``, and the versions of what it is made of.

    Attributes:
        is_running: Whether it is still going on; the rest is empty then.
        facts: Label -> version and the like, as people read them.
        problem: Why the trainer does not start, as a sentence; empty when it does.
        lines: The last lines that it wrote, where there is a problem.
        took_s: How long it took.
    """

    is_running: bool = False
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    problem: str = ""
    lines: tuple[str, ...] = ()
    took_s: float = 0.0
