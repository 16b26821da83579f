"""A session with the server: greeting, signs of life, and messages on a line that may break at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from shims.agent.line.line import Endpoint, Line
from shims.agent.line.streams import OutStream
from shims.agent.line.wire import FLUSH, PREAMBLE, FrameReader, WireError, decode, encode
from shims.agent.log import Log
from shims.agent.loop import Loop, Timer

Message = dict[str, Any]

VERSIONS = [1]
HELLO_AGAIN_S = 3.0
HELLO_AGAIN_MAX_S = 30.0
SILENCE = 4
"""Times the keep-alive, and the line counts as broken."""
DEFAULT_WINDOW = 256 * 1024
_LEAST_KEEPALIVE_S, _MOST_KEEPALIVE_S = 0.05, 3600.0
_LEAST_WINDOW, _MOST_WINDOW = 64 * 1024, 16 * 1024 * 1024
_MOST_RETRY_S = 600.0


class BadMessageError(Exception):
    """The server says something that this agent cannot understand; one sentence."""


class Session:
    """Says hello on every new line and hands over what comes.

    `hello()` gives the fields of a greeting. `on_welcome(message)` begins, `on_message(message)` gets everything after
    it and may raise, `on_end()` tells that nothing arrives any more, `on_room()` that the line takes more again;
    `on_tick()` comes as often as signs of life are due.
    """

    def __init__(
        self,
        loop: Loop,
        log: Log,
        endpoints: list[Endpoint],
        *,
        hello: Callable[[], Message],
        on_welcome: Callable[[Message], None],
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
        on_room: Callable[[], None],
        on_tick: Callable[[], None],
    ) -> None:
        self._loop, self._log = loop, log
        self._hello, self._on_welcome, self._on_message, self._on_end = hello, on_welcome, on_message, on_end
        self._on_room, self._on_tick = on_room, on_tick
        self.line = Line(
            loop,
            log,
            endpoints,
            on_open=self._opened,
            on_bytes=self._received,
            on_closed=self._ended,
            on_room=self._has_room,
        )
        self._reader = FrameReader()
        self._number = 0
        self.is_up = False
        self.window = DEFAULT_WINDOW
        self._keepalive_s = 0.0
        self._hello_again_s = HELLO_AGAIN_S
        self._said_s = self._heard_s = 0.0
        self._tick_timer: Timer | None = None
        self._hello_timer: Timer | None = None
        self._streams: deque[OutStream] = deque()

    # --- beginning and end

    def _opened(self) -> None:
        self._reader = FrameReader()
        self._begin()

    def _begin(self) -> None:
        """A new session on this line."""
        self._ended()
        self._hello_again_s = HELLO_AGAIN_S
        if self.line.is_device:
            self.line.drop_outgoing()
            self.line.send(FLUSH)
        self._greet()

    def _greet(self) -> None:
        """Say hello, and again until somebody answers."""
        self._hello_timer = self._loop.call_later(self._hello_again_s, self._greet)
        if not self.line.is_device:  # there the server is only slow, and more of the same makes it slower
            self._hello_again_s = min(HELLO_AGAIN_MAX_S, self._hello_again_s * 2)
        if self.line.pending > len(FLUSH):
            return  # the last one has not gone yet
        self._number += 1
        self.line.send(PREAMBLE)
        self._write({"type": "hello", "versions": VERSIONS, "session": self._number, **self._hello()})

    def _ended(self) -> None:
        for timer in (self._tick_timer, self._hello_timer):
            if timer is not None:
                timer.cancel()
        self._streams.clear()
        if self.is_up:
            self.is_up = False
            self._on_end()

    def _restart(self, why: str) -> None:
        """After garbage or silence: a device begins a new session, a connection is closed and made again."""
        self._log.warn(f"a new session with the server begins: {why}")
        if self.line.is_device:
            self._begin()
        else:
            self.line.close(why)

    # --- receiving

    def _received(self, data: bytes) -> None:
        self._heard_s = self._loop.now_s
        for body in self._reader.feed(data):
            if body is None:
                if self.is_up:
                    self._begin()
                continue
            try:
                self._take(decode(body))
            except (WireError, BadMessageError) as error:
                self._restart(str(error))
                return
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._restart(f"the server's message is not understood: {type(error).__name__}: {error}")
                return

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if self.is_up:
            if kind == "ping":
                self.send({"type": "pong", "n": message["n"]})
            elif kind != "pong":
                self._on_message(message)
        elif message.get("session") != self._number:
            return  # it answers an earlier hello
        elif kind == "welcome":
            self._welcome(message)
        elif kind == "refuse":
            self._refused(message)

    def _welcome(self, message: Message) -> None:
        if message["version"] not in VERSIONS:
            raise BadMessageError(
                f"the server speaks version {message['version']} of the protocol, this agent {VERSIONS}"
            )
        self._keepalive_s = min(_MOST_KEEPALIVE_S, max(_LEAST_KEEPALIVE_S, float(message["keepalive_s"])))
        self.window = min(_MOST_WINDOW, max(_LEAST_WINDOW, int(message["window"])))
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.is_up = True
        self.line.works()
        self._log.info("connected to the server")
        self._tick_timer = self._loop.call_later(self._keepalive_s, self._tick)
        self._on_welcome(message)

    def _refused(self, message: Message) -> None:
        retry_s = min(_MOST_RETRY_S, max(0.1, float(message["retry_s"])))
        self._log.error(f"the server refuses this agent: {message['reason']}")
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self.line.is_device:
            self._hello_timer = self._loop.call_later(retry_s, self._begin)
        else:
            self.line.close("refused", retry_s)

    def _tick(self) -> None:
        if self._loop.now_s - self._heard_s > SILENCE * self._keepalive_s:
            self._restart("the server is silent")
            return
        self._tick_timer = self._loop.call_later(self._keepalive_s, self._tick)
        self._on_tick()
        if self._loop.now_s - self._said_s >= self._keepalive_s * 0.9:
            self.send({"type": "ping", "n": self._number})

    # --- sending

    def send(self, message: Message) -> None:
        """Put a message on its way if there is a session; what has to arrive is said again in the next one."""
        if self.is_up:
            self._write(message)

    def _write(self, message: Message) -> None:
        self._said_s = self._loop.now_s
        self.line.send(encode(message))

    def stream(self, stream: OutStream) -> None:
        """This stream may have something to send now."""
        if self.is_up and stream not in self._streams:
            self._streams.append(stream)
            self._send_streams()

    def _has_room(self) -> None:
        self._send_streams()
        self._on_room()

    def _send_streams(self) -> None:
        """A frame of each stream in turn, as long as the line takes them."""
        while self.is_up and self._streams and self.line.has_room:
            stream = self._streams.popleft()
            message = stream.next_data(self.window)
            if message is not None:
                self._streams.append(stream)
                self._write(message)
                stream.data_sent()
