"""Checks the further options of a configuration before a trainer gets them: names, types, ranges, and what they name.

What is a number, a switch or one of the parser's own choices cannot name a file, a program or a server, so it is
allowed by its type. A text is allowed where ``OptionRules`` says what it may be.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.embedded.trainers.model_files import ModelFiles
from lib.embedded.trainers.parser_source import Kind, Option

MOST_TEXT_CHARS = 500
MOST_LIST_ITEMS = 50
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_LIFT = "LORA_ALLOW_ANY_OPTION=1 allows it."


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRules:
    """What is known about one trainer's options beyond their types.

    Attributes:
        set_by_dashboard: Names that the dashboard writes itself.
        refused: Name -> why it is never passed on, as the end of "The option x ...".
        texts: Name -> what its text, or each of its texts, must match.
        words: Name -> the values it may have, where the parser takes any; letter case counts for nothing.
        ranges: Name -> lowest and highest value. Other numbers are between 0 and a million.
        files: Names of options that name models; ``ModelFiles`` checks those.
    """

    set_by_dashboard: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()

    def always_refused(self, name: str, value: Any) -> str:
        """Why an option cannot be passed on whatever is allowed; empty when it can."""
        if not _NAME.fullmatch(name):
            return f"{name[:40]!r} cannot be an option's name."
        if name in self.set_by_dashboard:
            return f"The option {name} is set by the dashboard. Remove it from the configuration."
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, str) and each.startswith("-") for each in items):
            return f"A value of the option {name} begins with a hyphen, so the trainer would take it for an option."
        return ""

    def problem(self, name: str, value: Any, known: Mapping[str, Option]) -> str:
        """Why an option is not on the list of what a configuration may pass on; empty when it is."""
        if name in self.refused:
            return f"The option {name} {self.refused[name]}. Remove it; {_LIFT}"
        option = known.get(name)
        if option is None:
            near = difflib.get_close_matches(name, [each for each in known if each not in self.refused], n=1)
            meant = f" Did you mean {near[0]}?" if near else " Remove it, or correct its name."
            return f"The trainer has no option {name[:40]}.{meant}"
        items = value if isinstance(value, list | tuple) else [value]
        if isinstance(value, list | tuple) and not option.is_list:
            return f"The option {name} takes one value, not a list."
        if len(items) > MOST_LIST_ITEMS:
            return f"The option {name} has more than {MOST_LIST_ITEMS} values."
        return next(filter(None, (self._item_problem(name, item, option) for item in items)), "")

    def _item_problem(self, name: str, item: Any, option: Option) -> str:
        if option.kind is Kind.SWITCH:
            return "" if isinstance(item, bool) else f"The option {name} is a switch: write true or false."
        if option.choices:
            return "" if _is_choice(item, option) else f"The option {name} must be {_either(option.choices)}."
        if option.kind is not Kind.TEXT:
            return self._number_problem(name, item, is_whole=option.kind is Kind.INTEGER)
        return self._text_problem(name, item)

    def _number_problem(self, name: str, item: Any, *, is_whole: bool) -> str:
        is_number = isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item)
        if not is_number or (is_whole and not isinstance(item, int)):
            return f"The option {name} must be a {'whole ' * is_whole}number."
        low, high = self.ranges.get(name, (0, 1_000_000))
        return "" if low <= item <= high else f"The option {name} must be between {low:g} and {high:g}."

    def _text_problem(self, name: str, item: Any) -> str:
        if not isinstance(item, str) or len(item) > MOST_TEXT_CHARS or not item.isprintable():
            return f"The option {name} must be a text of at most {MOST_TEXT_CHARS} ordinary characters."
        if name in self.files:
            return ""
        if name in self.words:
            fits = item.lower() in {word.lower() for word in self.words[name]}
            return "" if fits else f"The option {name} must be {_either(sorted(self.words[name]))}. {_LIFT}"
        if name not in self.texts:
            return f"The option {name} may name a file or a program, so it is not passed on. {_LIFT}"
        fits = self.texts[name].fullmatch(item) is not None
        return "" if fits else f"The option {name} cannot be {item[:40]!r}: that is not a plain value. {_LIFT}"


def extra_problems(
    extra: Mapping[str, Any], rules: OptionRules, known: Mapping[str, Option], models: ModelFiles
) -> list[str]:
    """Why further options are not passed on: those that are always refused, and unless that is lifted, the others.

    Args:
        known: The options of the trainer's parser; none: it could not be read, and nothing is checked against it.
    """
    always = {name: rules.always_refused(name, value) for name, value in extra.items()}
    problems = [each for each in always.values() if each]
    if models.rules.allow_any_option or not known:
        return problems
    checked = {name: value for name, value in extra.items() if not always[name]}
    found = (rules.problem(*item, known) or _file_problem(*item, rules, models) for item in checked.items())
    return [*problems, *filter(None, found)]


def _file_problem(name: str, value: Any, rules: OptionRules, models: ModelFiles) -> str:
    if name not in rules.files:
        return ""
    files = value if isinstance(value, list | tuple) else [value]
    problems = (models.problem(str(each), f"The option {name}", may_be_hub=False) for each in files)
    return next(filter(None, problems), "")


def unchecked_warnings(extra: Mapping[str, Any], models: ModelFiles) -> tuple[str, ...]:
    """That options are not checked, where LORA_ALLOW_ANY_OPTION lifts the checks."""
    if not models.rules.allow_any_option or not extra:
        return ()
    return ("LORA_ALLOW_ANY_OPTION is set, so the further options reach the trainer without a check.",)


def _is_choice(item: Any, option: Option) -> bool:
    return not isinstance(item, bool | float) and str(item) in option.choices


def _either(words: Any) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else str(last)
