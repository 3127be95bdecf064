"""Foreign text: the forms that Markdown or Streamlit would turn into something else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.ui.parts.text import escaped, plain

# The patterns that Streamlit's frontend applies to the text after Markdown, read from its bundle (1.67).
AFTER_MARKDOWN = (
    re.compile(r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", re.IGNORECASE),
    re.compile(r"(?<![-.\w+])([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)"),
    re.compile(r":material_(\w+):|:streamlit:|:\+1:|:-1:|:[A-Za-z][\w-]*:"),
    re.compile(r"(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)"),
)


def shown(markdown: str) -> str:
    """What Markdown makes of it before Streamlit's own replacements."""
    return re.sub(r"\\(.)", r"\1", markdown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("nul\0 bell\a esc\x1b[31m", "nul bell esc[31m"),
        ("\u202eright to left\u202c \u2066x\u2069\u200f", "right to left x"),
        ("lone \ud800 surrogate", "lone surrogate"),
        (None, "None"),
        (42, "42"),
    ],
)
def test_plain_is_one_line_without_control_marks(text: object, expected: str) -> None:
    assert plain(text) == expected


def test_long_text_is_cut_and_says_so() -> None:
    assert plain("x" * 5_000, limit=10) == "xxxxxxxxx…"
    assert plain("short", limit=10) == "short"


@pytest.mark.parametrize(
    "text",
    [
        "https://x.test/a?b=c",
        "HTTP://X.test",
        "see www.x.test now",
        "a.b+c@d-e.test",
        ":material/home: :material_home: :smile: :+1: :streamlit:",
        "a -> b <- c <-> d -- e >= f <= g ~= h",
        "![](http://x.test/y.png) [a](b) <img src=x> **b** `c` $d$ :red[e] # f",
    ],
)
def test_nothing_becomes_a_link_an_icon_or_an_arrow(text: str) -> None:
    result = shown(escaped(text))
    assert result.replace("\u2060", "") == text
    for pattern in AFTER_MARKDOWN:
        assert not pattern.search(result), pattern.pattern


@given(st.text(alphabet="htpsw:/.@-<>=~+_ aZ1[](){}!*`#|$&^\\", max_size=60))
def test_escaping_hides_every_pattern_and_loses_nothing(text: str) -> None:
    markdown = escaped(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>!$:]", markdown)
    result = shown(markdown)
    assert result.replace("\u2060", "") == plain(text)
    for pattern in AFTER_MARKDOWN:
        assert not pattern.search(result), pattern.pattern


@pytest.mark.parametrize("text", ["Aria v1", "12:30:45", "lr 1e-4, dim 16", "a - b", "x = y"])
def test_ordinary_text_gets_no_hidden_characters(text: str) -> None:
    assert "\u2060" not in escaped(text)
