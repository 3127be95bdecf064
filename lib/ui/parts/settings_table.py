"""Training settings as rows and as a table that marks what the configuration says otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.jobs.setting_kinds import value_text
from lib.jobs.training_settings import SETTINGS, TrainingConfig, settings_differences, settings_from_payload
from lib.ui.parts.text import escaped

MAX_VALUE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A training setting; ``configured`` is what the configuration says, empty where that is the same."""

    label: str
    value: str
    configured: str = ""


def setting_rows(
    payload: Mapping[str, Any], config: TrainingConfig | None = None, trainers: Mapping[str, str] | None = None
) -> list[SettingRow]:
    """A row per setting; further options and unknown values only where there are some.

    Args:
        payload: Plain values by name; those of names that are not ours are shown as they are.
        config: What the values are compared with.
        trainers: Name of a trainer -> what is shown.
    """
    differences = settings_differences(config.settings, settings_from_payload(payload)) if config else ()
    labels = trainers or {}
    said = {each.name: value_text(each.before) for each in differences}
    return [
        SettingRow(
            label=SETTINGS[name].label if name in SETTINGS else name.replace("_", " ").capitalize(),
            value=labels.get(str(value), value_text(value)) if name == "trainer" else _shown(name, value),
            configured=said.get(name, ""),
        )
        for name, value in payload.items()
        if name in said or value not in ((None, {}) if name in SETTINGS else (None, "", (), [], {}))
    ]


def _shown(name: str, value: Any) -> str:
    setting = SETTINGS.get(name)
    known = setting.read(value) if setting else None
    return value_text(value) if setting is None or known is None else setting.shown(known)


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
