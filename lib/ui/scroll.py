"""Starts a new page or step at its top: Streamlit keeps the scroll position of the one before."""

import streamlit as st

_KEY = "started at the top of"
# Nothing foreign is in here. Twice, as what is drawn after the script can move the page again.
_SCROLL = """<style></style><script>
for (const wait_ms of [0, 300]) {
  setTimeout(() => document.querySelector("[data-testid=stMain]")?.scrollTo(0, 0), wait_ms);
}
</script>"""


def start_at_top(place: str) -> None:
    """Scroll up when ``place`` is another than in the run before. Call it last on the page: it takes no room."""
    if st.session_state.get(_KEY) != place:
        st.session_state[_KEY] = place
        st.html(_SCROLL, unsafe_allow_javascript=True)
