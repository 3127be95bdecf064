"""Ways to another place that are no plain link: on the same page, and from a button to another page."""

from collections.abc import Mapping

import streamlit as st

from lib.ui.parts.url import write_params


def show_place_link(label: str, params: Mapping[str, str | None], *, icon: str | None = None) -> None:
    """Change parameters of this page's URL, with a history entry; None takes one away.

    ``st.page_link`` to the page that it stands on shows the other place but leaves the address bar as it was: the next
    rerun would be back where one came from.
    """
    key = f"place {sorted(params.items(), key=str)}"
    st.button(label, key=key, icon=icon, type="tertiary", on_click=write_params, args=(params,))


def follow_link(page: str, params: Mapping[str, str]) -> None:
    """Go to another page by an unseen link that clicks itself: one history entry, with exactly these parameters.

    ``st.switch_page`` makes two: first this page's address with the other's parameters, then the other page's.
    """
    st.html(_FOLLOW, unsafe_allow_javascript=True)
    with st.container(key="way-on"):
        st.page_link(page, label="Open", query_params=dict(params))


# Several tries: the link is drawn a moment later. In a block: a second "let" beside the first would be an error.
_FOLLOW = """<style>:has(> .st-key-way-on), .st-key-way-on { display: none }</style><script>
{
  let followed = false;
  for (const wait_ms of [0, 50, 150, 400, 1000, 2000]) {
    setTimeout(() => {
      const link = followed ? null : document.querySelector(".st-key-way-on a");
      if (link) { followed = true; link.click(); }
    }, wait_ms);
  }
}
</script>"""
