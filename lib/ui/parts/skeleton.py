"""A skeleton during the first read."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

Value = TypeVar("Value")


def first_read(name: str, place: DeltaGenerator, read: Callable[[], Value], *, height_px: int) -> Value:
    """Return what ``read`` returns. In the first read of a visit, show a skeleton in ``place`` meanwhile.

    Later reads happen behind what is already shown.
    """
    seen = f"{name} was read before"
    if st.session_state.get(seen):
        return read()
    with place.skeleton(height=height_px):
        value = read()
    st.session_state[seen] = True
    return value
