"""What peft's ``adapter_config.json`` and diffusers' ``lora_adapter_metadata`` say on alpha: all foreign text."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONFIG_FILE, METADATA_KEY = "adapter_config.json", "lora_adapter_metadata"
MAX_CONFIG_BYTES = 4 << 20
_LITERAL = re.compile(r"(?:[\w.\-]|\\\.)+")
# A pattern is foreign code: it is run only if it cannot take long, and all of them only so often.
_LONGEST_PATTERN, _LONGEST_NAME, _MOST_REPETITIONS, _MOST_RUNS = 300, 200, 2, 20_000
_REPEATED_GROUP = re.compile(r"\)[*+?{]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """One component's settings.

    Attributes:
        origin: Where they stand: "adapter_config.json" or "lora_adapter_metadata".
        rank: ``r``.
        alpha: ``lora_alpha``, or ``alpha`` of LoHa and LoKr.
        is_rank_stabilized: Whether the scale is alpha / sqrt(rank).
        base_model: ``base_model_name_or_path``.
        ranks, alphas: Exceptions by patterns on the module's end.
    """

    origin: str
    rank: int | None = None
    alpha: float | None = None
    is_rank_stabilized: bool = False
    base_model: str = ""
    ranks: "Patterns" = field(default_factory=lambda: Patterns({}))
    alphas: "Patterns" = field(default_factory=lambda: Patterns({}))

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any], origin: str) -> "AdapterConfig":
        """Tolerant of whatever else stands there, and of values of a wrong type."""
        alpha = number(payload.get("lora_alpha"))
        rank = number(payload.get("r"))
        base_model = payload.get("base_model_name_or_path")
        return cls(
            origin=origin,
            rank=int(rank) if rank and rank >= 1 else None,
            alpha=number(payload.get("alpha")) if alpha is None else alpha,
            is_rank_stabilized=payload.get("use_rslora") is True,
            base_model=base_model if isinstance(base_model, str) else "",
            ranks=Patterns(payload.get("rank_pattern")),
            alphas=Patterns(payload.get("alpha_pattern")),
        )


class Patterns:
    """Values by pattern, as peft applies them: the first pattern that equals the module's name or its dotted end."""

    def __init__(self, content: object) -> None:
        self._literals: dict[str, tuple[int, float]] = {}
        self._expressions: list[tuple[int, re.Pattern[str], float]] = []
        self._runs = 0
        items = content.items() if isinstance(content, dict) else ()
        for place, (pattern, value) in enumerate(items):
            if (found := number(value)) is None:
                continue
            if _LITERAL.fullmatch(pattern):
                self._literals.setdefault(pattern.replace("\\.", "."), (place, found))
            elif expression := _safe_expression(pattern):
                self._expressions.append((place, expression, found))

    def __bool__(self) -> bool:
        return bool(self._literals or self._expressions)

    def find(self, module: str) -> float | None:
        """The value for a module, or None when no pattern is about it."""
        if not self:
            return None
        parts = module.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts))]
        found = [self._literals[end] for end in ends if end in self._literals]
        for place, pattern, value in self._expressions:
            self._runs += len(ends)
            if self._runs > _MOST_RUNS or len(module) > _LONGEST_NAME:
                break
            if any(pattern.fullmatch(end) for end in ends):
                found.append((place, value))
        return min(found)[1] if found else None


def _safe_expression(pattern: str) -> re.Pattern[str] | None:
    repetitions = sum(pattern.count(sign) for sign in "*+{?")
    if len(pattern) > _LONGEST_PATTERN or repetitions > _MOST_REPETITIONS or _REPEATED_GROUP.search(pattern):
        return None
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None


def configs_of_metadata(metadata: Mapping[str, str]) -> dict[str, AdapterConfig]:
    """The settings that diffusers writes into the header, by component ("" when the keys name none)."""
    by_component: dict[str, dict[str, Any]] = {}
    for key, value in parsed_object(metadata.get(METADATA_KEY, "")).items():
        component, _, name = key.rpartition(".")
        by_component.setdefault(component, {})[name] = value
    return {component: AdapterConfig.from_payload(said, METADATA_KEY) for component, said in by_component.items()}


def config_of_file(text: str | bytes) -> AdapterConfig | None:
    """The settings of an ``adapter_config.json``; None when it cannot be understood."""
    content = parsed_object(text)
    return AdapterConfig.from_payload(content, CONFIG_FILE) if content else None


def parsed_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object from foreign text; empty when it is none."""
    content = parsed(text)
    return content if isinstance(content, dict) else {}


def parsed(text: str | bytes) -> Any:
    """A JSON value from foreign text, without lone surrogates, which cannot be shown; None when it is none."""
    try:
        content = json.loads(text)
        if isinstance(text, bytes) or "\\u" in text:
            content = json.loads(json.dumps(content, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return content


def number(value: object) -> float | None:
    """A finite number, also one written as text; None for anything else, such as "None" and "Dynamic"."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
