"""The URL is the only source of truth for what a page shows: one history entry per change, so Back undoes it.

Widgets follow it: ``mirror_url``, ``mirrored_key`` or ``follow_url`` set a widget before it is made, and the widget's
``on_change`` calls ``write_params``. (``bind="query-params"`` would replace the entry, and Back would leave the page.)

The browser sends every event with its current URL. Right after a change that is still the previous one, and what was
just typed would be lost. So ``lib/app.py`` notes the URL in every full run, widgets change the note, and fragments
read it. The browser's own URL counts in full runs that no widget caused: a link, Back, Forward.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lib.ui.parts.text import plain

Value = TypeVar("Value")
MAX_VALUE_LENGTH = 200
_NOTED = "page and parameters of the URL"
_SENT = "keys of widgets that the browser had when this run began"
_FORMER = "former keys of widgets that mirror the URL"


@dataclass(slots=True, kw_only=True)
class UrlReader:
    """Reads parameters. Invalid values fall back to the default and are named in ``problems``."""

    params: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, name: str, default: str = "", *, limit: int = MAX_VALUE_LENGTH) -> str:
        """Any text, on one line and cut to ``limit`` characters."""
        return plain(self.params[name], limit=limit) if name in self.params else default

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        """One of ``options``."""
        value = self.params.get(name, default)
        if value in options or value == default:
            return value
        return self.refuse(name, value, default)

    def whole_number(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """A whole number between ``minimum`` and ``maximum``."""
        value = self.params.get(name)
        if value is None:
            return default
        if value.isascii() and value.isdigit() and len(value) < 12 and minimum <= int(value) <= maximum:
            return int(value)
        return self.refuse(name, value, default)

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Note every parameter that the page does not have."""
        for name in self.params:
            if name not in known:
                self.refuse(plain(name, limit=40), self.params[name], None)

    def refuse(self, name: str, value: str, default: Value) -> Value:
        """Note that the value is invalid, and return the default."""
        self.problems.append(f"{name}={plain(value, limit=40)}")
        return default


def note_url() -> None:
    """Note this page's URL, and which widgets the browser has. Call it in every full run before either is used."""
    st.session_state[_NOTED] = (_page(), st.query_params.to_dict())
    context = get_script_run_ctx()
    states = context.session_state.get_widget_states() if context else ()
    st.session_state[_SENT] = frozenset(state.id.split("-", 2)[-1] for state in states)  # $$ID-<hash>-<key>


def settle_url() -> None:
    """Correct the URL in a fragment that ran with an old one: ``st.rerun`` would keep the old one."""
    params = _params()
    if params != st.query_params.to_dict():
        st.query_params.from_dict(params)


def url_reader() -> UrlReader:
    """A reader of this page's parameters."""
    return UrlReader(params=_params())


def write_params(changes: Mapping[str, str | None], *, widget: str = "") -> None:
    """Change parameters with one history entry, or none if nothing changes. None or an empty text removes one.

    Args:
        changes: By parameter.
        widget: The key by ``mirrored_key`` of the widget that changed; a former key changes nothing.
    """
    if widget in st.session_state.get(_FORMER, ()):
        return
    before = _params()
    after = {name: value for name, value in {**before, **changes}.items() if value}
    if not before == after == st.query_params.to_dict():
        st.query_params.from_dict(after)
        st.session_state[_NOTED] = (_page(), after)


def _params() -> dict[str, str]:
    """The noted parameters, or the event's own if another page's URL is noted."""
    page, params = st.session_state.get(_NOTED, ("", {}))
    return dict(params) if page == _page() else st.query_params.to_dict()


def _page() -> str:
    context = get_script_run_ctx()
    return context.page_script_hash if context else ""


def mirror_url(key: str, value: object) -> None:
    """Make the widget ``key`` always show the URL's value. Call it before the widget.

    For widgets whose ``on_change`` writes the URL at once. Several quick steps back cannot leave the widget behind, and
    uncommitted text stays: like ``follow_url`` it sends the value until the browser has the widget.
    """
    if key not in st.session_state.get(_SENT, ()) or st.session_state.get(key) != value:
        st.session_state[key] = value


def mirrored_key(key: str, value: object) -> str:
    """``mirror_url`` for a widget in a fragment that ticks; returns the key that it must have now.

    After Back, a tick may report what the widget holds until the browser has heard the answer. Its ``on_change`` would
    write that into the URL again. So when the URL has a new value that the widget has not, the widget is made anew
    under another key, and ``write_params`` knows the former one.

    The browser is told only a value that the widget has not: told in each run, it would come with the answer to a tick
    from before a click, and undo it. Give the widget the value as its default, too: a browser that hears two answers
    at once makes it from the second, which has nothing to tell.
    """
    state, noted = st.session_state, f"{key} as mirrored"
    now, number, former = state.get(noted, (key, 0, value))
    if former != value and state.get(now, value) != value:
        state[_FORMER] = state.get(_FORMER, frozenset()) | {now}
        number += 1
        now = f"{key}-{number}"
    state[noted] = (now, number, value)
    if now not in state or state[now] != value:
        state[now] = value
    return str(now)


def follow_url(key: str, value: object) -> None:
    """Give the widget ``key`` the URL's value when it is new or the URL changed (a link, Back, Forward).

    Call it before the widget. In between, the widget keeps what was typed. Its value is sent until the browser has the
    widget: a second run may replace what the first one sent before it was drawn, and it would show its default.
    """
    seen = f"{key} as the URL had it"
    if key not in st.session_state or st.session_state.get(seen) != value:
        st.session_state[key] = value
    elif key not in st.session_state.get(_SENT, ()):
        st.session_state[key] = st.session_state[key]
    st.session_state[seen] = value
