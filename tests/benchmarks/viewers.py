"""Viewers without a browser: they speak Streamlit's protocol, so that only the server uses the machine."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

SUBPROTOCOLS = ["streamlit", "PLACEHOLDER_AUTH_TOKEN"]
# New viewers come this fast; then the server gets some time to find its pace.
ARRIVAL_S, SETTLE_S = 0.2, 20
CLICK_EVERY_S = 1


@dataclass(slots=True)
class Watched:
    """What was measured once all viewers were there: milliseconds of ticks and clicks, and the intervals in use."""

    ticks_ms: list[float] = field(default_factory=list)
    clicks_ms: list[float] = field(default_factory=list)
    intervals_ms: list[int] = field(default_factory=list)


class Viewer:
    """One open tab of a job's page; ``interval_ms`` is when its page wants to tick again."""

    def __init__(self, socket: ClientConnection, job_id: str) -> None:
        self._socket = socket
        self._query = f"id={job_id}"
        self._page_hash = ""
        self._fragment_id = ""
        self._widget_id = ""
        self.interval_ms = 0

    async def open(self) -> None:
        """The first run of the page; remembers the fragment that ticks, the quickest if there are several."""
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_name = "job"
        await self._socket.send(message.SerializeToString())
        while (answer := await self._next()).WhichOneof("type") != "script_finished":
            if answer.HasField("new_session"):
                self._page_hash = answer.new_session.page_script_hash
            widget_id, interval_ms = ticking(answer)
            if interval_ms and (not self.interval_ms or interval_ms < self.interval_ms):
                self._fragment_id, self._widget_id = answer.delta.fragment_id, widget_id
                self.interval_ms = interval_ms
        if not self._fragment_id:
            raise RuntimeError("the page has no fragment that ticks")

    async def tick(self, number: int) -> float:
        """Milliseconds from asking until everything is there."""
        message = self._rerun()
        message.rerun_script.fragment_id = self._fragment_id
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.json_value = self._widget_id, str(number)
        return await self._run(message)

    async def click(self) -> float:
        """Milliseconds that a click takes which draws the whole page again."""
        return await self._run(self._rerun())

    def _rerun(self) -> BackMsg:
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_script_hash = self._query, self._page_hash
        return message

    async def _run(self, message: BackMsg) -> float:
        begun = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        while (answer := await self._next()).WhichOneof("type") != "script_finished":
            widget_id, interval_ms = ticking(answer)
            if widget_id == self._widget_id:
                self.interval_ms = interval_ms
        return (time.perf_counter() - begun) * 1_000

    async def _next(self) -> ForwardMsg:
        message = ForwardMsg()
        message.ParseFromString(bytes(await self._socket.recv(decode=False)))
        return message


def ticking(answer: ForwardMsg) -> tuple[str, int]:
    """The id and the interval of what ticks, if that is what this message draws; ("", 0) otherwise."""
    element = answer.delta.new_element if answer.HasField("delta") else None
    if element is None or not element.HasField("component_instance"):
        return "", 0
    return element.component_instance.id, int(json.loads(element.component_instance.json_args).get("interval", 0))


async def watch_together(port: int, job_id: str, viewers: int, hold_s: float) -> Watched:
    """Viewers who tick from the moment they come, as often as their page wants to, and one more who clicks."""
    watched, all_there, over = Watched(), asyncio.Event(), asyncio.Event()

    def connection() -> connect:
        address = f"ws://localhost:{port}/_stcore/stream"
        return connect(address, subprotocols=SUBPROTOCOLS, max_size=None)  # type: ignore[arg-type]

    async def watch(number: int) -> None:
        await asyncio.sleep(number * ARRIVAL_S)
        async with connection() as socket:
            viewer, count = Viewer(socket, job_id), 0
            await viewer.open()
            await asyncio.sleep(random.Random(number).random() * viewer.interval_ms / 1_000)
            while not over.is_set():
                begun, count = time.monotonic(), count + 1
                span_ms = await viewer.tick(count)
                if all_there.is_set():
                    watched.ticks_ms.append(span_ms)
                    watched.intervals_ms.append(viewer.interval_ms)
                await asyncio.sleep(max(0.0, viewer.interval_ms / 1_000 - (time.monotonic() - begun)))

    async def click() -> None:
        async with connection() as socket:
            viewer = Viewer(socket, job_id)
            await viewer.open()
            await all_there.wait()
            while not over.is_set():
                watched.clicks_ms.append(await viewer.click())
                await asyncio.sleep(CLICK_EVERY_S)

    async with asyncio.TaskGroup() as group:
        for number in range(viewers):
            group.create_task(watch(number))
        group.create_task(click())
        await asyncio.sleep(viewers * ARRIVAL_S + SETTLE_S)
        all_there.set()
        await asyncio.sleep(hold_s)
        over.set()
    return watched
