"""A host for tests: starts a real worker process and speaks the protocol with it."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

PYTHON_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOLS = os.path.join(PYTHON_DIR, "tests", "worker_tools.py")
TIMEOUT = 30.0  # a hang becomes a failure

if hasattr(sys, "set_int_max_str_digits"):
    sys.set_int_max_str_digits(0)  # this host shall read whatever comes


class Message:
    def __init__(self, header: dict, parts: list) -> None:
        self.header = header
        self.parts = parts
        self.method = header.get("method")
        self.params = header.get("params")
        self.result = header.get("result")
        self.error = header.get("error")

    @property
    def code(self):
        return self.error and self.error["code"]

    def value(self):
        """The result's value; an AssertionError if this is an error."""
        assert self.error is None, self.error
        return self.result["value"]

    def __repr__(self) -> str:
        return f"Message({self.header}, {[len(p) for p in self.parts]})"


def encode(header: dict, parts=()) -> bytes:
    text = json.dumps({"jsonrpc": "2.0", **header}).encode()
    body = b"".join(parts)
    return struct.pack(">II", 4 + len(text) + len(body), len(text)) + text + body


class Host:
    """One worker and the host's end of its socket; everything in the caller's thread."""

    def __init__(self, tools=TOOLS, *, python=sys.executable, greet=True, env=None, path=(), args=(), **hello) -> None:
        self.sock, theirs = socket.socketpair()
        self.output = tempfile.TemporaryFile()  # what the worker prints itself
        environment = {**os.environ, "SNAKEPIT_FD": str(theirs.fileno()), "SNAKEPIT_WORKER": "test-1", **(env or {})}
        environment["PYTHONPATH"] = os.pathsep.join([PYTHON_DIR, *path])
        self.process = subprocess.Popen(
            [python, *args, "-m", "snakepit", tools],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
        )
        theirs.close()
        self.buffer = bytearray()
        self.numbers = iter(range(1, 1 << 60))
        self.notes: list[Message] = []  # notifications that were not waited for
        self.handlers: dict = {}  # method -> function(params, parts) -> result or (result, parts)
        self.hello = None
        if greet:
            self.hello = self.receive()
            assert self.hello.method == "hello", f"{self.hello}\n{self.printed()}"
            self.send({"id": self.hello.header["id"], "result": {"protocol": 1, "log_level": "debug", **hello}})

    def close(self) -> None:
        self.sock.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()

    def printed(self) -> str:
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def exit_status(self) -> int:
        return self.process.wait(TIMEOUT)

    # -- frames

    def send(self, header: dict, parts=()) -> None:
        """Send a message; read meanwhile if the worker does not, as a host must."""
        data = memoryview(encode(header, parts))
        deadline = time.monotonic() + TIMEOUT
        while data:
            readable, writable, _ = select.select([self.sock], [self.sock], [], max(0, deadline - time.monotonic()))
            assert readable or writable, f"the worker does not read; it printed:\n{self.printed()}"
            if writable:
                try:
                    data = data[self.sock.send(data, socket.MSG_DONTWAIT) :]
                    continue
                except BlockingIOError:
                    pass
            if readable and not self._fill(deadline):
                raise BrokenPipeError("the worker has closed the connection")

    def _fill(self, deadline: float) -> bool:
        if not select.select([self.sock], [], [], max(0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"nothing from the worker; it printed:\n{self.printed()}")
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def receive(self, expect_end=False):
        """The next message; None at the end of the stream if that is expected."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            if len(self.buffer) >= 8:
                n, h = struct.unpack_from(">II", self.buffer)
                if len(self.buffer) >= 4 + n:
                    frame = bytes(self.buffer[8 : 4 + n])
                    del self.buffer[: 4 + n]
                    return self._message(frame[:h], frame[h:])
            if not self._fill(deadline):
                assert not self.buffer, "the stream ends within a frame"
                if expect_end:
                    return None
                raise AssertionError(f"the worker has closed the connection; it printed:\n{self.printed()}")

    @staticmethod
    def _message(header: bytes, body: bytes) -> Message:
        header = json.loads(header, parse_constant=lambda token: 1 / 0)
        assert header["jsonrpc"] == "2.0", header
        parts = []
        for n in (header.get("params") or header.get("result") or {}).get("parts", []):
            parts.append(body[:n])
            body = body[n:]
        assert not body, "a body that parts do not account for"
        return Message(header, parts)

    # -- requests

    def request(self, method: str, params: dict, parts=()) -> int:
        number = next(self.numbers)
        if parts:
            params = {**params, "parts": [len(p) for p in parts]}
        self.send({"id": number, "method": method, "params": params}, parts)
        return number

    def start(self, tool: str, args=None, *, parts=(), **params) -> int:
        """Send a call; return its number."""
        return self.request("call", {"tool": tool, "args": args or {}, "correlation": "c-1", **params}, parts)

    def answer(self, number: int) -> Message:
        """Wait for the answer to a request; serve what the worker asks meanwhile."""
        while True:
            message = self.receive()
            if message.method is None and message.header["id"] == number:
                return message
            self.take(message)

    def take(self, message: Message) -> None:
        if "id" not in message.header:
            self.notes.append(message)
            return
        assert message.method in self.handlers, f"unexpected {message}"
        try:
            result = self.handlers[message.method](message.params, message.parts)
        except Refusal as e:
            error = {"code": -32005, "message": str(e), "data": {"reason": "test"}}
            self.send({"id": message.header["id"], "error": error})
            return
        result, parts = result if isinstance(result, tuple) else (result, ())
        self.send({"id": message.header["id"], "result": result}, parts)

    def until(self, method: str) -> Message:
        """The next message of this method; earlier ones are taken."""
        while True:
            message = self.receive()
            if message.method == method:
                return message
            assert message.method is not None, f"unexpected answer {message}"
            self.take(message)

    def call(self, tool: str, args=None, **params) -> Message:
        return self.answer(self.start(tool, args, **params))

    def stream(self, tool: str, args=None, **params) -> tuple[list, Message]:
        """Call a streaming tool with credit for all; return chunks and answer."""
        self.notes.clear()
        answer = self.call(tool, args, stream=True, window=1 << 30, **params)
        return [note.params["value"] for note in self.notes if note.method == "chunk"], answer

    def ping(self) -> None:
        answer = self.answer(self.request("ping", {}))
        assert answer.result == {}, answer

    def cancel(self, number: int) -> None:
        self.send({"method": "cancel", "params": {"call": number}})

    def credit(self, number: int, n: int) -> None:
        self.send({"method": "credit", "params": {"call": number, "n": n}})

    def forget(self, *sessions: str) -> None:
        self.send({"method": "forget", "params": {"sessions": list(sessions)}})

    def logs(self, logger=None) -> list:
        """(level, message) of the log notes so far."""
        return [
            (note.params["level"], note.params["message"])
            for note in self.notes
            if note.method == "log" and logger in (None, note.params["logger"])
        ]


class Refusal(Exception):
    """A handler's way to answer -32005."""


class WorkerTest(unittest.TestCase):
    """A test with workers that end with it."""

    def host(self, *args, **options) -> Host:
        host = Host(*args, **options)
        self.addCleanup(host.close)
        return host

    def tools(self, source: str, name: str = "tools.py") -> str:
        """The path of a file with this source."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, name)
        with open(path, "w") as f:
            f.write(textwrap.dedent(source))
        return path


def state(version=1, vars=None, **fields) -> dict:
    """The session parameters of a call; vars None: without them."""
    fields = {"id": "s1", "incarnation": "i1", "version": version, "readonly": False, **fields}
    if vars is not None:
        fields.update({"programs": [], "labels": {}, "metadata": {}, **fields, "vars": vars})
    return fields
