"""Times that the browser counts on: in the words of the server, and while the page is open."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page

from lib.ui.parts import browser as browser_side
from lib.ui.parts.format import relative_time

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
AGES_S = (0, 4, 5, 59, 60, 89, 91, 3_569, 3_571, 5_399, 5_401, 84_599, 84_601, 86_400, 172_799, 172_800, 14 * 86_400)


NOTED = """async (script) => {
  const { clockTime } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  const [time, later] = [new Date(2026, 10, 23, 9, 3, 5), new Date(2026, 10, 24)];
  return [clockTime(time, time), clockTime(time, later)];
}"""
SAID = """async ([script, ages]) => {
  const { relativeTime } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  return ages.map(relativeTime);
}"""


def test_the_browser_says_it_as_the_server_does(page: Page) -> None:
    script = Path(browser_side.__file__).with_suffix(".js").read_text("utf-8")
    said = page.evaluate(SAID, [script, list(AGES_S)])
    assert said == [relative_time(NOW - timedelta(seconds=age_s), NOW) for age_s in AGES_S]
    assert page.evaluate(SAID, [script, [-60, 90 * 86_400]]) == [None, None]
    assert page.evaluate(NOTED, script) == ["09:03:05", "23 Nov, 09:03:05"]
