"""What runs in the browser: ``browser.js`` and ``browser.css``, loaded once per visit, and what pages tell them."""

from pathlib import Path

import streamlit as st

from lib.ui.parts.format import utc_now
from lib.ui.parts.links import own_path

_FILE = Path(__file__)
_SCRIPT = st.components.v2.component("lora_browser", js=_FILE.with_suffix(".js").read_text("utf-8"))
_STYLES = _FILE.with_suffix(".css").read_text("utf-8")
_MAIN = "browser-script"
_COLORS = {"primary": "primaryColor", "page": "backgroundColor", "link": "linkColor"}
_FIRST_SEEN = "time of the first run in ms"


def load_browser_side() -> None:
    """Load script and styles. Call it in every full run, before anything else is drawn."""
    colors = "; ".join(f"--{name}: {_themed(option)}" for name, option in _COLORS.items())
    st.html(f"<style>:root {{ {colors}; }}\n{_STYLES}</style>")
    # The same in every run, so that the script is sent once.
    server_ms = st.session_state.setdefault(_FIRST_SEEN, utc_now().timestamp() * 1000)
    data = {"server_ms": server_ms, "reason_at": own_path("/_stcore/host-config")}
    _SCRIPT(key=_MAIN, data=data, on_narrow_change=lambda: None)


def is_narrow() -> bool:
    """Whether the window is as narrow as a phone's; the script tells, and tells again when that changes."""
    return bool((st.session_state.get(_MAIN) or {}).get("narrow"))


def remembered(name: str) -> str:
    """What this browser keeps under this name, as ``remember`` was told in this visit or an earlier one."""
    return str(st.session_state.get(f"remembered {name}", st.context.cookies.get(name, "")))


def remember(name: str, value: str) -> None:
    """Keep letters, digits and dots in this browser for a year; ``show_remembered`` draws what stores it."""
    st.session_state[f"remembered {name}"] = value


def show_remembered(name: str) -> None:
    """Store what was remembered in this visit."""
    if (value := st.session_state.get(f"remembered {name}")) is not None:
        _SCRIPT(key=f"browser-remember-{name}", data={"cookie": f"{name}={value}"})


def _themed(option: str) -> str:
    """A colour of the theme for the style sheet, which Streamlit tells to components only."""
    return f"light-dark({st.get_option(f'theme.light.{option}')}, {st.get_option(f'theme.dark.{option}')})"


def focus_button(key: str) -> None:
    """Focus the button with this widget key, unless something else has the focus."""
    _SCRIPT(key="browser-focus", data={"focus": key})


def ask_before_leaving(unsaved: bool) -> None:
    """Whether the browser asks before the tab is closed or reloaded."""
    _SCRIPT(key="browser-leave", data={"unsaved": unsaved})
