"""A TCP proxy on loopback that can lose the network: at once and for all to see, or in silence."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class Proxy:
    """Hands bytes on in both directions while the network is there."""

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._cut = self._closed = False
        self._flows = threading.Event()
        self._flows.set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listening.getsockname()
        return host, port

    def __enter__(self) -> Proxy:
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._closed = True
        self.cut()
        self._flows.set()
        self._listening.close()

    def cut(self) -> None:
        """Ends all connections, and every new one at once."""
        with self._lock:
            self._cut = True
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _end(pair)

    def hang(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._flows.clear()

    def mend(self) -> None:
        """The network is there again. What hung is lost: its connections end."""
        hung = not self._flows.is_set()
        if hung:
            self.cut()
        self._flows.set()
        with self._lock:
            self._cut = False

    def _accept(self) -> None:
        while not self._closed:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            if self._cut:
                here.close()
                continue
            try:
                there = socket.create_connection(self._to, 5)
                there.settimeout(None)
            except OSError:
                here.close()
                continue
            with self._lock:
                self._pairs.add((here, there))
            for a, b in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(a, b, (here, there)), daemon=True).start()

    def _carry(self, a: socket.socket, b: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                self._flows.wait()
                b.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        _end(pair)


def _end(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
