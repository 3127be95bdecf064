"""Reading a URL: what cannot be used falls back and is named."""

import pytest

from lib.ui.parts.url import MAX_VALUE_LENGTH, UrlReader


def test_good_values_are_taken_and_missing_ones_default() -> None:
    reader = UrlReader(params={"take": "50", "order": "asc", "q": " Aria \n v1 "})
    assert reader.whole_number("take", 20, minimum=1, maximum=100) == 50
    assert reader.whole_number("skip", 7, minimum=0, maximum=100) == 7
    assert reader.choice("order", ("asc", "desc"), "desc") == "asc"
    assert reader.choice("sort", ("a", "b"), "b") == "b"
    assert reader.text("q") == "Aria v1"
    assert reader.text("name", "default") == "default"
    assert reader.problems == []


@pytest.mark.parametrize("value", ["", "abc", "-1", "101", "1.5", "1e2", "٣", "²", "9" * 5_000, "\0", "<script>"])
def test_bad_numbers_fall_back_and_are_named(value: str) -> None:
    reader = UrlReader(params={"take": value})
    assert reader.whole_number("take", 20, minimum=1, maximum=100) == 20
    assert len(reader.problems) == 1
    assert reader.problems[0].startswith("take=")
    assert len(reader.problems[0]) < 60


def test_a_bad_choice_falls_back_and_is_named() -> None:
    reader = UrlReader(params={"order": "sideways"})
    assert reader.choice("order", ("asc", "desc"), "desc") == "desc"
    assert reader.problems == ["order=sideways"]


def test_long_text_is_cut() -> None:
    assert len(UrlReader(params={"q": "x" * 9_000}).text("q")) == MAX_VALUE_LENGTH
