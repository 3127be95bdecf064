"""Starts a new page or step at its top: Streamlit keeps the scroll position of the one before."""

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
