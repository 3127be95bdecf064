"""A job's settings as a table that marks what its configuration says otherwise; review and monitor share it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lib.ui.parts.text import escaped

MAX_VALUE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A training setting; ``configured`` is what the configuration says, empty where that is the same."""

    label: str
    value: str
    configured: str = ""


def settings_table(rows: Sequence[SettingRow]) -> str:
    """The settings as a Markdown table; what differs from the configuration is marked."""
    lines = ["| Setting | Value |", "|---|---|"]
    for row in rows:
        value = escaped(row.value, limit=MAX_VALUE_CHARS)
        if row.configured:
            said = escaped(row.configured, limit=MAX_VALUE_CHARS)
            value = f":orange[**{value}**, changed: the configuration says {said}]"
        lines.append(f"| {escaped(row.label)} | {value} |")
    return "\n".join(lines)
