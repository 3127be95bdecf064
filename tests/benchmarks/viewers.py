"""Viewers without a browser: they speak Streamlit's protocol, so that only the server uses the machine."""

import asyncio
import json
import random
import time

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

SUBPROTOCOLS = ["streamlit", "PLACEHOLDER_AUTH_TOKEN"]


class Viewer:
    """One open tab of a job's page."""

    def __init__(self, socket: ClientConnection, job_id: str) -> None:
        self._socket = socket
        self._query = f"id={job_id}"
        self._page_hash = ""
        self._fragment_id = ""
        self._widget_id = ""

    async def open(self, poll_ms: int) -> None:
        """The first run of the page; remembers the fragment that ticks."""
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_name = "job"
        await self._socket.send(message.SerializeToString())
        while (answer := await self._next()).WhichOneof("type") != "script_finished":
            if answer.HasField("new_session"):
                self._page_hash = answer.new_session.page_script_hash
            element = answer.delta.new_element if answer.HasField("delta") else None
            if element is not None and element.HasField("component_instance"):
                component = element.component_instance
                if json.loads(component.json_args).get("interval") == poll_ms:
                    self._fragment_id, self._widget_id = answer.delta.fragment_id, component.id
        if not self._fragment_id:
            raise RuntimeError("the page has no fragment that ticks")

    async def tick(self, number: int) -> float:
        """Milliseconds from asking until everything is there."""
        message = BackMsg()
        rerun = message.rerun_script
        rerun.query_string, rerun.page_script_hash, rerun.fragment_id = self._query, self._page_hash, self._fragment_id
        state = rerun.widget_states.widgets.add()
        state.id, state.json_value = self._widget_id, str(number)
        begun = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        while (await self._next()).WhichOneof("type") != "script_finished":
            pass
        return (time.perf_counter() - begun) * 1_000

    async def _next(self) -> ForwardMsg:
        message = ForwardMsg()
        message.ParseFromString(bytes(await self._socket.recv(decode=False)))
        return message


async def watch_together(port: int, job_id: str, viewers: int, hold_s: float, poll_ms: int = 2_000) -> list[float]:
    """Milliseconds of every tick of all viewers."""
    spans: list[float] = []

    async def watch(number: int) -> None:
        address = f"ws://localhost:{port}/_stcore/stream"
        async with connect(address, subprotocols=SUBPROTOCOLS, max_size=None) as socket:  # type: ignore[arg-type]
            viewer = Viewer(socket, job_id)
            await viewer.open(poll_ms)
            await opened.wait()
            await asyncio.sleep(random.Random(number).random() * poll_ms / 1_000)
            deadline, count = time.monotonic() + hold_s, 0
            while time.monotonic() < deadline:
                begun, count = time.monotonic(), count + 1
                spans.append(await viewer.tick(count))
                await asyncio.sleep(max(0.0, poll_ms / 1_000 - (time.monotonic() - begun)))

    opened = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(viewers):
            group.create_task(watch(number))
        await asyncio.sleep(0.2 * viewers)
        opened.set()
    return spans
