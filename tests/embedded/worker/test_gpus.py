"""Which cards jobs get: which there are, and that running jobs share none."""

from collections.abc import Sequence

import pytest

from lib.embedded.worker.gpus import BY_PLACE, ORDER, VISIBLE, Gpus, find_gpus
from lib.embedded.worker.options import read_options
from lib.embedded.worker.processes import TRAINER_VARIABLE
from lib.ui.parts.machine import gpus_text
from tests.embedded.worker.test_machine import GB, library


@pytest.mark.parametrize(
    ("names", "wanted", "taken", "found"),
    [
        ("0123", 1, "", "0"),
        ("0123", 1, "0", "1"),
        ("0123", 2, "1", "02"),
        ("0123", 2, "123", None),
        ("0123", 9, "", "0123"),  # the start refuses it in words
        ("0123", 9, "2", None),
        ("", 1, "", ""),
        ("0123", 0, "0123", ""),
        ("00", 1, "0", "0"),
        ("00", 1, "00", None),
        ("00", 2, "", "0"),
        ("1", 1, "7", "1"),  # a card that was taken away since
    ],
)
def test_free_cards(names: str, wanted: int, taken: str, found: str | None) -> None:
    assert Gpus(list(names)).free(wanted, taken) == (None if found is None else tuple(found))


def seen(given: Sequence[str], environ: dict[str, str], cards: int) -> dict[str, str]:
    """What a job that takes every card is told."""
    gpus = find_gpus(given, environ, lambda: library(*[GB] * cards) if cards else None)
    return dict(gpus.environ(gpus.free(99, ()) or ()))


def test_the_settings_win_over_the_environment_and_that_over_what_there_is() -> None:
    inherited = {VISIBLE: "3, 2"}
    assert seen(["1"], inherited, 4) == {VISIBLE: "1", ORDER: BY_PLACE}
    assert seen([], inherited, 4) == {VISIBLE: "3,2"}  # counted as whoever set it counts
    assert seen([], {**inherited, f"{TRAINER_VARIABLE}{VISIBLE}": "GPU-8f"}, 4) == {VISIBLE: "GPU-8f"}
    assert seen([], {}, 2) == {VISIBLE: "0,1", ORDER: BY_PLACE}


@pytest.mark.parametrize("environ", [{}, {VISIBLE: ""}, {VISIBLE: "-1"}])
def test_without_cards_nothing_is_set(environ: dict[str, str]) -> None:
    assert seen([], environ, 4 if environ else 0) == {}


def test_the_launchers_cards_reach_the_worker() -> None:
    assert read_options(["--data-dir", "d", "--gpu", "0", "--gpu", "2"])[0].gpu == ["0", "2"]


def test_cards_in_words() -> None:
    assert (gpus_text(()), gpus_text(("1",)), gpus_text(("0", "2"))) == ("", "GPU 1", "GPUs 0, 2")
