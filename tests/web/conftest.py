"""What the tests of our own routes share."""

from collections.abc import Callable, Iterator

import pytest
import streamlit as st
from streamlit import config


@pytest.fixture
def set_option() -> Iterator[Callable[[str, object], None]]:
    """``set_option("server.baseUrlPath", "/lora/")`` as the command line does; undone with the test."""
    before: dict[str, object] = {}

    def set_option(name: str, value: object) -> None:
        before.setdefault(name, st.get_option(name))
        config.set_option(name, value)

    yield set_option
    for name, value in before.items():
        config.set_option(name, value)
