"""A real server on this machine that answers each request on a connection with the next bytes of a script."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

Reply = Sequence[bytes]  # sent one after the other, so that each arrives by itself; an empty one ends the connection

_APART_S = 0.05


class ScriptedServer(NamedTuple):
    url: str
    requests: list[tuple[int, bytes]]  # number of the connection, and what was sent


@contextmanager
def scripted(*replies: Reply) -> Iterator[ScriptedServer]:
    """Answer requests by the replies in turn, the last one for ever; nothing at all where a reply has no parts."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)
    requests: list[tuple[int, bytes]] = []
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def serve(number: int, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            while request := _request(connection):
                requests.append((number, request))
                for part in replies[min(len(requests), len(replies)) - 1]:
                    if not part:
                        return
                    connection.sendall(part)
                    time.sleep(_APART_S)

    def accept() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(len(threads), connection), daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield ScriptedServer(f"http://127.0.0.1:{listener.getsockname()[1]}", requests)
    finally:
        ended.set()
        accepting.join()
        listener.close()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    return data
