// What the pages need from the browser beyond what Streamlit does by itself. browser.py loads it once per visit.
// Each part says why it exists; a test in tests/browser fails without it, and tests/browser/test_streamlit_structure.py
// names every selector. No text from users or sources reaches this file.

// Streamlit keeps the scroll position when another page, job, wizard step or page of the list is shown.
const PLACE_PARAMS = ["id", "step", "skip"];
let place = null;

function startAtTop() {
  const params = new URLSearchParams(location.search);
  const here = [location.pathname, ...PLACE_PARAMS.map((name) => params.get(name))].join(" ");
  if (place !== null && place !== here) {
    // Twice: the page may move once more while it is drawn.
    for (const wait_ms of [0, 300]) {
      setTimeout(() => document.querySelector("[data-testid=stMain]")?.scrollTo(0, 0), wait_ms);
    }
  }
  place = here;
}

// st.switch_page with parameters makes two history entries; a click on a link makes one. links.py draws that link.
const followed = new WeakSet();

function followLink() {
  const link = document.querySelector(".st-key-way-on a");
  if (link && !followed.has(link)) {
    followed.add(link);
    setTimeout(() => link.click(), 50); // when the run that drew it is over
  }
}

// A container that scrolls has no name, and not every browser lets a keyboard reach it.
function nameLogArea() {
  for (const area of document.querySelectorAll(".st-key-log-lines:not([role])")) {
    area.tabIndex = 0;
    area.setAttribute("role", "region");
    area.setAttribute("aria-label", "Training logs");
  }
}

// "Next" and "Previous" in the image dialog lead to the next caption's field, ready to type. Not where the screen is
// touched: its keyboard would cover the picture.
const focused = new WeakSet();

function focusNextCaption() {
  const field = document.querySelector("[class*=st-key-caption-turned-] textarea");
  if (field && !focused.has(field) && matchMedia("(pointer: fine)").matches) {
    focused.add(field);
    for (const wait_ms of [0, 100, 300]) setTimeout(() => field.focus({ preventScroll: true }), wait_ms);
  }
}

function afterEveryChange() {
  startAtTop();
  followLink();
  nameLogArea();
  focusNextCaption();
}
new MutationObserver(afterEveryChange).observe(document.body, { childList: true, subtree: true });
afterEveryChange();

// A field sends its text when it loses the focus, here to the link that is being clicked. The text would arrive after
// the link's own event, and the server would draw the old page again. So the field sends it as soon as the link is
// pressed, and the click follows.
const SENT_AFTER_MS = 200;
let pressed = null;

document.addEventListener("pointerdown", (event) => {
  const link = event.target.closest?.("a[href]");
  const field = document.activeElement;
  const isPlain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  pressed = link && isPlain && field?.matches("input, textarea") && !link.target ? link : null;
  if (pressed) field.blur();
}, true);
document.addEventListener("click", (event) => {
  if (!pressed || event.target.closest?.("a[href]") !== pressed) return;
  const link = pressed;
  pressed = null;
  event.preventDefault();
  event.stopImmediatePropagation();
  setTimeout(() => link.click(), SENT_AFTER_MS);
}, true);

// Streamlit follows its own links in this tab whatever key is held. With one, the browser opens a tab or a window.
document.addEventListener("click", (event) => {
  const isElsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
  if (isElsewhere && event.target.closest?.("[data-testid=stPageLink-NavLink]")) event.stopPropagation();
}, true);

// Escape closes the image dialog before the caption's field has sent its text.
document.addEventListener("keydown", (event) => {
  const field = document.activeElement;
  if (event.key === "Escape" && field?.closest("[role=dialog] [class*=st-key-caption-]")) field.blur();
}, true);

// The clipboard is the browser's, not the server's. (navigator.clipboard works over https only.)
document.addEventListener("click", (event) => {
  if (!event.target.closest?.(".st-key-copied-lines-all button")) return;
  document.querySelector(".st-key-copied-lines textarea").select();
  document.execCommand("copy");
});

function copyText(text, place) {
  const field = document.createElement("textarea");
  field.value = text;
  place.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

// "Copy ID" and "Copy link" in a job's menu: the address has both.
document.addEventListener("click", (event) => {
  const place = event.target.closest?.("[class*=st-key-copy-job-]");
  if (!place) return;
  const { search, href } = location;
  copyText(place.matches(".st-key-copy-job-id") ? new URLSearchParams(search).get("id") : href, place);
});

// A chip copies its text.
document.addEventListener("click", (event) => {
  const chip = event.target.closest?.("button[data-copy]");
  if (!chip) return;
  copyText(chip.textContent, chip.parentElement);
  chip.focus();
  chip.classList.add("copied");
  setTimeout(() => chip.classList.remove("copied"), 1500);
});

// A click on a sample shows it in full size, and the arrow keys walk on to the ones beside it. Not a dialog of the
// server's: the page goes on ticking behind it, and the next picture is there at once.
const SAMPLES = "[class*=st-key-small-pictures-samples] a:has(> img)";
let viewer = null;

function makeViewer() {
  viewer = document.createElement("dialog");
  viewer.className = "sample-viewer";
  viewer.setAttribute("aria-label", "Sample in full size");
  viewer.append(document.createElement("img"), document.createElement("p"));
  for (const [label, deed] of [["Previous", () => walk(-1)], ["Next", () => walk(1)], ["Close", () => viewer.close()]]) {
    const button = document.createElement("button");
    button.textContent = label;
    button.addEventListener("click", deed);
    viewer.append(button);
  }
  viewer.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (step) walk(step);
  });
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  document.body.append(viewer);
}

function showSample(link) {
  if (!viewer) makeViewer();
  const [image, text] = viewer.children;
  image.src = link.href;
  image.alt = text.textContent = link.querySelector("img").alt;
  if (!viewer.open) viewer.showModal();
}

function walk(step) {
  const links = [...document.querySelectorAll(SAMPLES)];
  const next = links[links.findIndex((link) => link.href === viewer.children[0].src) + step];
  if (next) showSample(next);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.(SAMPLES);
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  showSample(link);
});

// Keeps "3 minutes ago" correct on a page that is open but not drawn again. The words are those of
// format.relative_time; null leaves the text alone: after some days it hardly changes.
export function relativeTime(age_s) {
  const ago = (count, one, many) => (count === 1 ? one : `${count} ${many} ago`);
  const minutes = Math.round(age_s / 60), hours = Math.round(age_s / 3600);
  if (age_s < -5 || age_s >= 15 * 86400) return null;
  if (age_s < 5) return "just now";
  if (age_s < 60) return `${Math.floor(age_s)} seconds ago`;
  if (minutes < 60) return ago(minutes, "a minute ago", "minutes");
  if (hours < 24) return ago(hours, "an hour ago", "hours");
  return ago(Math.max(1, Math.floor(age_s / 86400)), "a day ago", "days");
}

// The server gone: how old the page is and that it tries again. Streamlit tells the window that shows it about its
// connection, and reconnects by itself; its own dialog is switched off (lib/web/frontend.py).
const NOTICED_AFTER_MS = 1000;
const ASKED_AGAIN_MS = 4000;
const notice = document.createElement("div");
notice.id = "connection-notice";
notice.setAttribute("role", "status");
document.body.append(notice);

let asked_for_reason = ""; // an address that the guard refuses for the same reason as the connection
let drawn = new Date(); // when the last run ended
let lost = null; // the timer that says so, while there is no connection

// "12:03:10", with the day when it is not today's.
export function clockTime(time, now) {
  const clock = time.toTimeString().slice(0, 8);
  if (time.toDateString() === now.toDateString()) return clock;
  return `${time.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${clock}`;
}

// Why there is no connection, in the guard's own words if it is the reason: signed out, or no access any more.
async function sayWhyLost() {
  const waiting = lost;
  let reason = "";
  try {
    const answer = await fetch(asked_for_reason, { cache: "no-store" });
    if (answer.status === 401) reason = (await answer.json()).error;
  } catch { /* the server is gone */ }
  if (lost !== waiting || waiting === null) return;
  const text = reason || `Connection lost, trying again; numbers as of ${clockTime(drawn, new Date())}`;
  if (notice.textContent !== text) notice.textContent = text;
  lost = setTimeout(sayWhyLost, ASKED_AGAIN_MS);
}

// Streamlit disables every field while there is no connection, which takes the focus away.
let held = null; // what has the focus, or had it when the connection was lost
addEventListener("focusin", ({ target }) => { held = target; });
addEventListener("focusout", ({ target }) => {
  setTimeout(() => { if (lost === null && held === target && document.activeElement !== target) held = null; }, 500);
});

function giveFocusBack() {
  const field = held;
  for (const wait_ms of [0, 100, 300, 600, 1000]) {
    setTimeout(() => { if (document.activeElement === document.body) field?.focus({ preventScroll: true }); }, wait_ms);
  }
}

// A page that does not tick would stay as it was before. An open dialog would lose what was typed in it.
function drawAgain() {
  if (!document.querySelector("[role=dialog]")) dispatchEvent(new PopStateEvent("popstate"));
}

addEventListener("message", ({ source, data }) => {
  if (source !== window || data?.stCommVersion === undefined) return;
  if (data.type === "SCRIPT_RUN_STATE_CHANGED" && data.scriptRunState === "notRunning" && lost === null) drawn = new Date();
  if (data.type === "WEBSOCKET_DISCONNECTED") lost ??= setTimeout(sayWhyLost, NOTICED_AFTER_MS);
  if (data.type === "WEBSOCKET_CONNECTED" && lost !== null) {
    clearTimeout(lost);
    lost = null;
    if (notice.textContent) drawAgain();
    notice.textContent = "";
    giveFocusBack();
  }
});

// How far the viewer's clock is ahead of the server's.
let ahead_ms = null;

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-live]")) {
    const text = relativeTime((Date.now() - ahead_ms - Date.parse(time.dateTime)) / 1000);
    if (text !== null && text !== time.textContent) time.textContent = text;
  }
}, 1000);

// When one of its buttons closes a dialog, the focus is lost; the browser restores it only after Escape.
// The dialog disappears a moment later, on a busy machine some seconds; for a second after that the focus may be lost.
function giveFocusTo(key) {
  let looksWithout = 0;
  const timer = setInterval(() => {
    looksWithout = document.querySelector("[role=dialog]") ? 0 : looksWithout + 1;
    if (looksWithout > 10) clearInterval(timer);
    const isLost = looksWithout > 0 && document.activeElement === document.body;
    if (isLost) document.querySelector(`.st-key-${key} button`)?.focus();
  }, 100);
}

// The list has other columns on a phone, and only Python can say which.
const phone = matchMedia("(max-width: 640px)");
let toldWidth = false;

function tellWidth(setStateValue) {
  const tell = () => {
    if (toldWidth !== phone.matches) setStateValue("narrow", (toldWidth = phone.matches));
  };
  phone.onchange = tell;
  tell();
}

// In the table the browser would search the canvas, so the grid has a search of its own. It sees one page only.
document.addEventListener("keydown", (event) => {
  const isFind = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f";
  if (isFind && event.target.closest?.(".st-key-job-table")) event.stopPropagation();
}, true);

// What browser.py says: run for each message, and again when the theme changes.
export default function ({ data, setStateValue }) {
  if (data.reason_at) asked_for_reason = data.reason_at;
  if (data.server_ms) {
    ahead_ms ??= Date.now() - data.server_ms;
    tellWidth(setStateValue);
  }
  if (data.cookie) document.cookie = `${data.cookie}; path=/; max-age=31536000; samesite=lax`;
  if (data.focus) giveFocusTo(data.focus);
  // The browser asks before it closes or reloads the tab: unsaved changes live as long as the visit.
  if ("unsaved" in data) window.onbeforeunload = data.unsaved ? (event) => event.preventDefault() : null;
}
