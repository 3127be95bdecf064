"""What the browser is told to do beyond Streamlit: start at the top, and not lose clicks on links.

Streamlit keeps the scroll position of the page or step before. And a click on a link is lost while a field holds text
that was not committed yet: the browser commits it when the click takes the focus away, and sends it after the link's
own event, so that the server draws the old page again. With a slow press of a mouse the commit comes first; a tap is
too fast for that.
"""

from zlib import crc32

import streamlit as st

_KEY = "started at the top of"
# Nothing foreign is in here. Twice, as what is drawn after the script can move the page again. With a number, as the
# browser runs a script that stands there already only when it is another.
_SCROLL = """<style></style><script>
// %d
for (const wait_ms of [0, 300]) {
  setTimeout(() => document.querySelector("[data-testid=stMain]")?.scrollTo(0, 0), wait_ms);
}
</script>"""


def start_at_top(place: str) -> None:
    """Scroll up when ``place`` is another than in the run before. Call it last on the page: it takes no room."""
    if st.session_state.get(_KEY) != place:
        st.session_state[_KEY] = place
        st.html(_SCROLL % crc32(place.encode()), unsafe_allow_javascript=True)


# The field gives up its text as soon as the link is pressed, and the click follows when that was sent. No foreign text.
_LINK_CLICKS = """<style></style><script>
if (!window.loraLinkClicks) {
  window.loraLinkClicks = true;
  const SENT_AFTER_MS = 200;
  let pressed = null;
  document.addEventListener("pointerdown", event => {
    const link = event.target.closest?.("a[href]"), field = document.activeElement;
    const isPlain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    pressed = link && isPlain && field?.matches("input, textarea") && !link.target ? link : null;
    if (pressed) field.blur();
  }, true);
  document.addEventListener("click", event => {
    if (!pressed || event.target.closest?.("a[href]") !== pressed) return;
    const link = pressed;
    pressed = null;
    event.preventDefault();
    event.stopImmediatePropagation();
    setTimeout(() => link.click(), SENT_AFTER_MS);
  }, true);
}
</script>"""


def keep_link_clicks() -> None:
    """Call it once per run, anywhere: it takes no room."""
    st.html(_LINK_CLICKS, unsafe_allow_javascript=True)
