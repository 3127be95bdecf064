"""The list and the overview in a real browser: the URL and Back, live refresh, foreign text, phone, axe."""

import csv
import io
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Dashboard, axe_violations
from tests.waiting import PATIENCE_MS, PATIENCE_S, wait_for

HEADER_PX, ROW_PX, PHONE_ROW_PX = 34.75, 40, 56
Steer = Callable[..., str]
# Once in a while a dialog that is closed by its own button takes the focus with it. Here it always does.
LOSE_FOCUS_WITH_DIALOG = """new MutationObserver((_, observer) => {
  if (document.querySelector("[role=dialog]")) return;
  observer.disconnect();
  setTimeout(() => document.activeElement.blur(), 50);
}).observe(document.body, { childList: true, subtree: true })"""
# What the server says reaches the page late, in its order.
ANSWERS_LATE = """window.late_ms = 0;
let turn = Promise.resolve();
const heard = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
const late = (hear) => hear && function (event) {
  const at = performance.now() + window.late_ms;
  turn = turn.then(() => new Promise((go) => setTimeout(go, at - performance.now())));
  turn = turn.then(() => hear.call(this, event));
};
Object.defineProperty(WebSocket.prototype, "onmessage", { ...heard, set(hear) { heard.set.call(this, late(hear)); } });
const listen = WebSocket.prototype.addEventListener;
WebSocket.prototype.addEventListener = function (kind, hear, how) {
  return listen.call(this, kind, kind === "message" ? late(hear) : hear, how);
};"""


@pytest.fixture(scope="module")
def listing(start_dashboard: Callable[..., Dashboard]) -> Dashboard:
    """A dashboard over a source that the tests steer."""
    return start_dashboard(script="tests/browser/list_home.py")


@pytest.fixture
def steer(listing: Dashboard) -> Steer:
    """``steer("fail")`` changes the source; every test begins with its 137 jobs."""

    def steer(what: str, **params: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in {"do": what, **params}.items())
        with urllib.request.urlopen(f"{listing.url}/steer?{query}", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    steer("refill")
    return steer


def reads(steer: Steer, of: str) -> int:
    """How often the source was asked for the list of these statuses; each page of a test asks for others."""
    found = re.search(rf"list of {re.escape(of)}=(\d+)", steer("nothing"))
    return int(found[1]) if found else 0


def row(page: Page, number: int, *, height_px: int = ROW_PX) -> None:
    """Click the check box of a row of the table."""
    page.get_by_test_id("data-grid-canvas").first.wait_for()
    table = page.get_by_test_id("stDataFrame")
    # A narrow page tells its width and is drawn a second time, with the status in its links; the first table stays
    # until that has ended, and takes no click along.
    expect(table).to_have_count(1)
    if height_px == PHONE_ROW_PX:
        page.locator("[class*=st-key-job-names]").get_by_role("link", name="●").first.wait_for()
    table.click(position={"x": 16, "y": HEADER_PX + height_px * number + height_px / 2})


def sort_by_header(page: Page, label: str) -> None:
    """Click a column's header: beside its menu, which the grid offers at the right end."""
    header = page.locator("canvas [role=columnheader]", has_text=re.compile(rf"^{label}( [↑↓])?$"))
    place = int(header.get_attribute("aria-colindex") or 0)
    widths = (34, 62, 190, 200, 105)  # check boxes, sample, name, status, progress; a wide page adds a few pixels
    page.get_by_test_id("stDataFrame").click(position={"x": sum(widths[:place]) + 40, "y": HEADER_PX / 2})


def names(page: Page) -> Locator:
    """The links on the jobs' names, once the table below them is there and nothing moves any more."""
    # A table that takes another's place is there beside it for a moment.
    expect(page.get_by_test_id("data-grid-canvas")).to_have_count(1)
    return page.locator("[class*=st-key-job-names]").get_by_role("link")


def chip(page: Page, label: str) -> Locator:
    """A status to filter by."""
    return page.get_by_role("button", name=re.compile(rf"^(● )?{label} [\d,]+$"))


def chosen(page: Page, label: str) -> Locator:
    """A select box; the one that it takes the place of goes a moment later."""
    return page.get_by_role("combobox", name=re.compile(label)).first


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box."""
    chosen(page, label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_five_steps_back_and_forward_restore_list_and_widgets(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.goto(f"{listing.url}/jobs")
    expect(page.get_by_text("137 jobs")).to_be_visible()
    chip(page, "Succeeded").click()
    expect(page.get_by_text("67 jobs")).to_be_visible()
    choose(page, "Sort by", "Name A-Z")
    expect(page).to_have_url(re.compile("sortBy=name&sortOrder=asc"))
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("Page 2 of 4")).to_be_attached()
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollTop === 0")
    search = page.get_by_role("textbox", name="Search").first
    search.fill("v1")
    search.press("Enter")
    expect(page.get_by_text("24 jobs")).to_be_visible()
    assert "skip" not in page.url
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("Page 2 of 2")).to_be_visible()
    shared = page.url

    page.go_back()
    expect(page.get_by_text("Page 1 of 2")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("Page 2 of 4")).to_be_visible()
    expect(search).to_have_value("")
    page.go_back()
    expect(page.get_by_text("Page 1 of 4")).to_be_visible()
    page.go_back()
    expect(chosen(page, "Sort by")).to_have_value("Newest first")
    page.go_back()
    expect(page.get_by_text("137 jobs")).to_be_visible()
    expect(chip(page, "All statuses")).to_have_attribute("aria-pressed", "true")
    for _ in range(5):
        page.go_forward()
    expect(page.get_by_text("Page 2 of 2")).to_be_visible()
    expect(search).to_have_value("v1")
    assert page.url == shared
    # Somebody else opens the link.
    page.context.clear_cookies()
    page.goto("about:blank")
    page.goto(shared)
    expect(page.get_by_text("Showing 21-24 of 24")).to_be_visible()
    expect(chip(page, "Succeeded")).to_have_attribute("aria-pressed", "true")
    expect(chosen(page, "Sort by")).to_have_value("Name A-Z")
    expect(search).to_have_value("v1")


def test_ticks_of_a_slow_connection_undo_neither_back_nor_a_click(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.add_init_script(ANSWERS_LATE)
    page.goto(f"{listing.url}/jobs")
    chip(page, "Running").click()
    expect(page.get_by_text("2 jobs")).to_be_visible()
    search = page.get_by_role("textbox", name="Search").first
    search.fill("v0")
    search.press("Enter")
    expect(page.get_by_text("1 job", exact=True)).to_be_visible()
    before = reads(steer, "running")
    page.evaluate("late_ms = 4000; history.go(-1)")
    # Two ticks report the old search while the answer is on its way.
    wait_for(lambda: reads(steer, "running") >= before + 3, "no ticks")
    page.evaluate("late_ms = 0")
    expect(page.get_by_text("2 jobs")).to_be_visible()
    expect(search).to_have_value("")
    page.go_back()
    expect(page.get_by_text("137 jobs")).to_be_visible()
    before = reads(steer, "all"), reads(steer, "running")
    page.evaluate("late_ms = 4000")
    # The answer to a tick from before the click comes after it.
    wait_for(lambda: reads(steer, "all") > before[0], "no tick")
    chip(page, "Running").click()
    wait_for(lambda: reads(steer, "running") >= before[1] + 3, "no ticks")
    page.evaluate("late_ms = 0")
    expect(page.get_by_text("2 jobs")).to_be_visible()
    expect(page).to_have_url(f"{listing.url}/jobs?status=running")
    chip(page, "All statuses").click()
    expect(page.get_by_text("137 jobs")).to_be_visible()
    expect(page).to_have_url(f"{listing.url}/jobs")


def test_dialog_typed_text_and_selection_survive_ten_ticks(
    listing: Dashboard, steer: Steer, page: Page, browser: Browser
) -> None:
    page.goto(f"{listing.url}/jobs?status=running,pending")
    expect(page.get_by_text("4 jobs")).to_be_visible()
    row(page, 0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Aria v0")

    other = browser.new_page(viewport={"width": 500, "height": 700})
    other.set_default_timeout(PATIENCE_MS)
    other.goto(f"{listing.url}/jobs")
    expect(other.get_by_text("137 jobs")).to_be_visible()
    row(other, 1, height_px=PHONE_ROW_PX)
    expect(other.get_by_text("Selected:")).to_be_visible()
    scroller = other.get_by_test_id("stMain")
    scroller.evaluate("element => { element.scrollTop = 150 }")
    search = other.get_by_role("textbox", name="Search")
    search.press_sequentially("half typ")
    scrolled = scroller.evaluate("element => element.scrollTop")

    before = {statuses: reads(steer, statuses) for statuses in ("pending+running", "all")}
    steer("new")
    for statuses, count in before.items():
        wait_for(lambda: reads(steer, statuses) >= count + 10, f"ten ticks of the page with {statuses}")  # noqa: B023
    expect(dialog).to_be_visible()
    expect(search).to_have_value("half typ")
    expect(search).to_be_focused()
    expect(other.get_by_text("138 jobs")).to_be_visible()
    assert scroller.evaluate("element => element.scrollTop") == scrolled
    # A new job moved the rows; the selection stays with its job.
    expect(other.get_by_test_id("stBottom")).to_contain_text("Aria v1")
    other.close()

    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
    expect(page.get_by_test_id("stBottom")).to_contain_text("Aria v0")
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    page.evaluate(LOSE_FOCUS_WITH_DIALOG)
    page.get_by_role("button", name="Keep running").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_be_focused()


def test_a_search_typed_right_before_another_filter_is_kept(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.goto(f"{listing.url}/jobs")
    expect(page.get_by_text("137 jobs")).to_be_visible()
    page.get_by_role("textbox", name="Search").press_sequentially("v1")
    # Leaving the field sends the search, and the choice follows before the answer is here.
    chosen(page, "Sort by").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(chosen(page, "Sort by")).to_have_value("Name Z-A")
    expect(page).to_have_url(re.compile(r"/jobs\?(q=v1&sortBy=name|sortBy=name&q=v1)$"))
    expect(page.get_by_text("48 jobs")).to_be_visible()
    expect(page.get_by_role("textbox", name="Search")).to_have_value("v1")


# Which entries a page adds to the history. The length of the history says less: steps back make room for new entries,
# and Chromium counts them late on a busy machine.
NOTE_PUSHES = """
window.pushed = [];
const push = history.pushState.bind(history);
history.pushState = (state, unused, url) => { pushed.push(String(url)); return push(state, unused, url); };
"""


def test_a_name_leads_to_the_job_and_one_step_back_to_the_list(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.add_init_script(NOTE_PUSHES)
    page.goto(f"{listing.url}/jobs?status=failed&take=19")
    expect(page.get_by_text("22 jobs")).to_be_visible()
    page.evaluate("pushed.length = 0")
    names(page).first.click()
    expect(page).to_have_url(f"{listing.url}/job?id=job-007")
    assert page.evaluate("pushed") == ["/job?id=job-007"]
    page.go_back()
    expect(page.get_by_text("22 jobs")).to_be_visible()
    expect(page).to_have_url(f"{listing.url}/jobs?status=failed&take=19")
    row(page, 0)
    link = page.get_by_role("link", name="View details")
    expect(link).to_have_attribute("href", re.compile(r"job\?id=job-007$"))
    link.click()
    expect(page).to_have_url(f"{listing.url}/job?id=job-007")
    page.go_back()
    expect(page.get_by_text("22 jobs")).to_be_visible()
    # Once more in the same visit, and from another row.
    names(page).nth(1).click()
    expect(page).to_have_url(f"{listing.url}/job?id=job-013")
    # Deleting a job leaves its page: one entry, and nothing of the job in the URL.
    page.evaluate("pushed.length = 0")
    page.get_by_role("button", name="…").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 1 job").click()
    expect(page.get_by_test_id("stToast")).to_contain_text("Deleted Aria v13")  # first: it goes again
    expect(page).to_have_url(f"{listing.url}/jobs")
    expect(page.get_by_text("136 jobs")).to_be_visible()
    assert page.evaluate("pushed") == ["/jobs"]


def test_a_name_is_a_link_on_its_cell_for_the_keyboard_and_for_a_new_tab(
    listing: Dashboard, steer: Steer, page: Page
) -> None:
    page.goto(f"{listing.url}/jobs?take=17")
    expect(names(page)).to_have_count(17)
    table = page.get_by_test_id("stDataFrame").bounding_box()
    assert table is not None
    for number in (0, 16):
        box = names(page).nth(number).bounding_box()
        assert box is not None
        # The grid has lines of a pixel between the cells.
        assert abs(box["y"] - table["y"] - HEADER_PX - ROW_PX * number) <= 1
        assert (box["height"], box["width"]) == (ROW_PX - 1, 189)
    with page.context.expect_page() as opened:
        names(page).nth(2).click(modifiers=["Control"])
    expect(opened.value).to_have_url(f"{listing.url}/job?id=job-002")
    opened.value.close()
    names(page).first.focus()
    before = reads(steer, "all")
    wait_for(lambda: reads(steer, "all") >= before + 3, "three ticks")
    expect(names(page).first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{listing.url}/job?id=job-001")


def test_a_header_sorts_the_whole_list_and_what_sees_one_page_is_gone(
    listing: Dashboard, steer: Steer, page: Page
) -> None:
    page.goto(f"{listing.url}/jobs?take=16")
    expect(names(page).first).to_have_text("Aria v0")
    row(page, 4)
    expect(page.get_by_test_id("stBottom")).to_contain_text("Aria v4")
    sort_by_header(page, "Loss")
    expect(page).to_have_url(f"{listing.url}/jobs?take=16&sortBy=loss&sortOrder=asc")
    expect(chosen(page, "Sort by")).to_have_value("Smallest loss first")
    expect(page.get_by_test_id("stBottom")).to_contain_text("Aria v4")
    sort_by_header(page, "Loss")
    expect(page).to_have_url(f"{listing.url}/jobs?take=16&sortBy=loss")
    expect(names(page).first).to_have_text("Aria v136")
    expect(chosen(page, "Sort by")).to_have_value("Largest loss first")
    page.go_back()
    expect(page).to_have_url(f"{listing.url}/jobs?take=16&sortBy=loss&sortOrder=asc")
    expect(names(page).first).to_have_text("Aria v0")
    table = page.get_by_test_id("stDataFrame")
    table.hover()
    expect(table.get_by_test_id("stElementToolbar")).to_be_hidden()
    page.get_by_test_id("data-grid-canvas").focus()
    page.keyboard.press("Control+f")
    expect(page.get_by_text("Type to search")).to_have_count(0)
    # The menu in the header of the names, at its right end.
    table.click(position={"x": 34 + 62 + 190 - 14, "y": HEADER_PX / 2})
    menu = page.get_by_role("menu", name="Dataframe column menu")
    expect(menu.get_by_text("Autosize")).to_be_visible()
    for words in ("Sort ascending", "Sort descending", "Statistics"):
        expect(menu.get_by_text(words)).to_be_hidden()


def test_the_table_stays_where_it_is_when_a_row_is_ticked(listing: Dashboard, steer: Steer, page: Page) -> None:
    # A list that nobody has read before: its skeleton must leave no gap behind.
    page.goto(f"{listing.url}/jobs?status=failed&take=18")
    page.get_by_test_id("data-grid-canvas").wait_for()
    table = page.get_by_test_id("stDataFrame")
    expect(page.get_by_role("button", name="Next page")).to_be_visible()
    before = table.bounding_box()
    row(page, 0)
    expect(page.get_by_role("link", name="View details")).to_be_visible()
    assert table.bounding_box() == before


def test_deleting_the_last_row_of_a_page_leads_to_the_page_before(listing: Dashboard, steer: Steer, page: Page) -> None:
    steer("keep", ids=",".join(f"job-{number:03d}" for number in range(4, 25)))
    page.goto(f"{listing.url}/jobs?skip=20")
    expect(page.get_by_text("Showing 21-21 of 21")).to_be_visible()
    # By keyboard: the table is one tab stop, Shift+Space selects its row.
    page.get_by_test_id("data-grid-canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+Space")
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Aria v24")
    expect(dialog).to_contain_text("500 MB")
    dialog.get_by_role("button", name="Delete 1 job").click()
    expect(page.get_by_test_id("stToast")).to_contain_text("Deleted Aria v24")
    expect(page.get_by_text("20 jobs")).to_be_visible()
    expect(page.get_by_role("button", name="Next page")).to_have_count(0)


def test_a_source_that_goes_down_leaves_the_last_good_list(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.goto(f"{listing.url}/jobs?status=running")
    expect(page.get_by_text("2 jobs")).to_be_visible()
    steer("fail")
    expect(page.get_by_text("Could not refresh: The source does not answer.")).to_be_visible()
    expect(page.get_by_text("2 jobs")).to_be_visible()
    steer("heal")
    expect(page.get_by_text("Could not refresh")).to_have_count(0)


def test_a_source_that_was_down_from_the_start_can_be_tried_again(listing: Dashboard, steer: Steer, page: Page) -> None:
    steer("fail")
    page.goto(f"{listing.url}/jobs?sortBy=duration")
    expect(page.get_by_text("Failed to load jobs")).to_be_visible()
    steer("heal")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Page 1 of 7")).to_be_visible()
    row(page, 0)
    expect(page.get_by_role("link", name="View details")).to_be_visible()


def test_the_csv_is_of_the_whole_filtered_list(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.goto(f"{listing.url}/jobs?status=succeeded&skip=20")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8"))))
    assert len(rows) == 67
    assert {each["status"] for each in rows} == {"succeeded"}


def test_the_overview_has_a_name_of_its_own_too(listing: Dashboard, steer: Steer, page: Page) -> None:
    page.goto(f"{listing.url}/overview?window=7d")
    expect(page.get_by_text("in the last 7 days")).to_be_visible()
    expect(page).to_have_url(f"{listing.url}/?window=7d")
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_text("137 jobs")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("in the last 7 days")).to_be_visible()


def test_the_overview_follows_progress_and_a_bar_of_its_chart_leads_to_the_jobs(
    listing: Dashboard, steer: Steer, page: Page
) -> None:
    page.goto(f"{listing.url}/?window=7d")
    steer("tick", step=1234)
    expect(page.get_by_text("61% · Step 1234/2000")).to_be_visible()
    queued = page.locator("[class*=st-key-queued-]")
    expect(queued.first).to_contain_text("Aria v1")
    page.get_by_role("button", name="To the front").click()
    expect(queued.first).to_contain_text("Aria v3")
    page.get_by_role("button", name="Details").click()
    steer("tick", step=1500)
    expect(page.get_by_text("75% · Step 1500/2000")).to_be_visible()
    expect(page.get_by_text("in memory")).to_be_visible()  # the details stay open while the page goes on
    page.keyboard.press("Escape")
    download = page.get_by_role("link", name="Download").first
    expect(download).to_have_attribute("href", re.compile(r"/download/job-\d+/aria\.safetensors$"))
    page.get_by_text("As a table with links").click()
    link = page.get_by_role("link", name=re.compile(r"\d+ failed$")).first
    count = int(re.search(r"(\d+) failed", link.inner_text())[1])  # type: ignore[index]
    link.click()
    expect(page.get_by_text(f"{count} jobs" if count > 1 else "1 job", exact=True)).to_be_visible()
    expect(page.get_by_text("Only jobs that ended from")).to_be_visible()
    page.get_by_role("button", name="Remove time filter").click()
    expect(page.get_by_text("44 jobs")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_foreign_text_is_shown_as_text_and_fetches_nothing(
    path: str, listing: Dashboard, steer: Steer, page: Page
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    steer("hostile")
    page.goto(f"{listing.url}{path}?q=%3Cimg%20src%3Dhttp%3A%2F%2Fevil.test%3E&status=%5Bx%5D(http://evil.test)")
    page.goto(f"{listing.url}{path}")
    if path == "/":
        expect(page.get_by_text("https\u2060://evil.test www").first).to_be_visible()
        expect(page.get_by_text(":material/home: :\u2060smile:").first).to_be_visible()
    else:
        expect(page.get_by_text("4 jobs")).to_be_visible()
        for number in range(4):
            row(page, number)
        expect(page.get_by_test_id("stBottom")).to_contain_text("4 jobs")
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("https\u2060://evil.test www")
    assert [url for url in asked if "evil.test" in url.split("?")[0]] == []
    foreign = "a[href*='evil.test'], img[src*='evil.test']"
    assert page.locator(foreign).count() == 0
    assert [url for url in asked if not url.startswith((listing.url, "data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_a_phone_shows_it_all_and_axe_finds_nothing(
    path: str, scheme: str, listing: Dashboard, steer: Steer, page: Page
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{listing.url}{path}")
    expect(page.get_by_text("137 jobs" if path == "/jobs" else "Recent failures")).to_be_visible()
    if path == "/jobs":
        expect(names(page).nth(5)).to_have_text("Aria v5 ● Lost, out of memory")
        row(page, 4, height_px=PHONE_ROW_PX)
        expect(page.get_by_role("link", name="View logs")).to_be_visible()
    widths = page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('[data-testid=stMain]').scrollWidth]"
    )
    assert widths == [390, 390]
    # Streamlit itself has none on these pages either.
    assert axe_violations(page) == {}


def test_two_selected_jobs_are_compared_and_back_leads_to_the_list(
    listing: Dashboard, steer: Steer, page: Page
) -> None:
    page.goto(f"{listing.url}/jobs?status=succeeded")
    row(page, 0)
    expect(page.get_by_role("link", name="View details")).to_be_visible()
    row(page, 1)
    page.locator("a[href*='compare?ids=job-'][href*='%2C']").click()
    expect(page.get_by_role("heading", name="Compare jobs")).to_be_visible()
    expect(page).to_have_url(re.compile("/compare[?]ids=job-[0-9]+%2Cjob-[0-9]+$"))
    expect(page.get_by_role("heading", name="Parameters")).to_be_visible()
    page.get_by_text("Show equal parameters too").click()
    expect(page).to_have_url(re.compile("&all=1$"))
    assert axe_violations(page).keys() <= {"landmark-unique", "region", "landmark-one-main"}
    page.go_back()
    expect(page).to_have_url(re.compile("/compare[?]ids=[^&]+$"))
    page.go_back()
    expect(page.get_by_role("heading", name="LoRA Training Jobs")).to_be_visible()
