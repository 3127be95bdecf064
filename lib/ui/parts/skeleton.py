"""A skeleton where something is read for the first time; later reads happen behind what is shown already."""

from collections.abc import Callable
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

Value = TypeVar("Value")


def first_read(name: str, place: DeltaGenerator, read: Callable[[], Value], *, height_px: int) -> Value:
    """What ``read`` gives. The first time in a visit a skeleton as high as what follows stands in ``place`` meanwhile.

    Later there is something to look at already, which a skeleton would only push aside.
    """
    seen = f"{name} was read before"
    if st.session_state.get(seen):
        return read()
    with place.skeleton(height=height_px):
        value = read()
    st.session_state[seen] = True
    return value
