"""Lets a click on a link leave the page also while a field holds text that was not committed yet.

The browser commits the text when the click takes the focus away, and sends it after the link's own event: the server
then draws the old page again, and the click is lost. With a slow press of a mouse the commit comes first, a tap is
too fast for that.
"""

import streamlit as st

# The field gives up its text as soon as the link is pressed, and the click follows when that was sent. No foreign text.
_SCRIPT = """<style></style><script>
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
    st.html(_SCRIPT, unsafe_allow_javascript=True)
