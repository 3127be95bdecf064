"""What lives is frozen; what dies in a cycle is collected all the same, with the next full round."""

import gc
import threading
import weakref

import pytest

from lib.web.garbage import keep_collections_short
from tests.waiting import wait_for


class Node:
    """A thing that refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def keeping():
    stopped = threading.Event()
    thread = threading.Thread(target=keep_collections_short, args=(stopped, 0.01, 3))
    thread.start()
    yield
    stopped.set()
    thread.join()
    gc.unfreeze()


@pytest.mark.usefixtures("keeping")
def test_objects_are_frozen_and_dead_cycles_go_all_the_same():
    wait_for(lambda: gc.get_freeze_count() > 1_000, "nothing was frozen")
    node = Node()
    seen = weakref.ref(node)
    del node
    wait_for(lambda: seen() is None, "a dead cycle was kept for ever")
