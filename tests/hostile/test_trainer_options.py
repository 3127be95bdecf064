"""No further option of a configuration leads the other trainers to a file, a folder, a program or a server."""

from collections.abc import Mapping

import pytest

from lib.embedded.trainers.ai_toolkit_settings import RULES as AI_TOOLKIT
from lib.embedded.trainers.diffusers_settings import RULES as DIFFUSERS
from lib.embedded.trainers.musubi import RULES as MUSUBI
from lib.embedded.trainers.option_rules import OptionRules
from lib.embedded.trainers.parser_source import Kind, Option
from lib.embedded.trainers.sd_scripts_options import _FREE
from lib.embedded.trainers.sd_scripts_options import RULES as SD_SCRIPTS
from tests.embedded.trainers.option_tables import read_keys, read_table
from tests.hostile.test_options import HOSTILE_VALUES

FREE = {_FREE, DIFFUSERS.texts["class_prompt"], AI_TOOLKIT.texts["trigger_word"]}


def joined(tables: Mapping[str, Mapping[str, Option]]) -> dict[str, Option]:
    """The options of all scripts or sections."""
    return {name: option for table in tables.values() for name, option in table.items()}


KNOWN: Mapping[str, tuple[OptionRules, Mapping[str, Option]]] = {
    "musubi-tuner": (MUSUBI, joined(read_table("musubi-tuner"))),
    "diffusers": (DIFFUSERS, joined(read_table("diffusers"))),
    "ai-toolkit": (AI_TOOLKIT, joined(read_keys())),
}


@pytest.mark.parametrize("trainer", list(KNOWN))
def test_what_is_let_through_names_nothing(trainer: str) -> None:
    rules, known = KNOWN[trainer]
    assert len(known) > 70
    let_through = 0
    for name, option in known.items():
        if name in rules.files:  # ``ModelFiles`` checks those
            continue
        for value in HOSTILE_VALUES:
            if rules.always_refused(name, value) or rules.problem(name, value, known):
                continue
            let_through += 1
            assert name not in rules.refused, (name, value)
            texts = value if isinstance(value, list) else [value]
            for text in (each for each in texts if isinstance(each, str) and rules.texts.get(name) not in FREE):
                assert option.kind is Kind.TEXT, (name, value)
                assert not set("/\\~") & set(text), (name, value)
                assert text in option.choices or name in rules.texts or name in rules.words, (name, value)
    assert let_through > 20  # numbers and switches


@pytest.mark.parametrize("trainer", list(KNOWN))
def test_the_rules_name_options_that_there_are(trainer: str) -> None:
    rules, known = KNOWN[trainer]
    named = {*rules.set_by_dashboard, *rules.refused, *rules.texts, *rules.words, *rules.ranges, *rules.files}
    shared = {*SD_SCRIPTS.refused, *SD_SCRIPTS.texts, *SD_SCRIPTS.ranges} if trainer == "musubi-tuner" else set()
    assert named - known.keys() - shared == set()
