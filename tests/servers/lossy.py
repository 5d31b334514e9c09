"""A way to a server on which replies get lost, together with their connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def lossy(port: int, loses: Callable[[], bool]) -> Iterator[int]:
    """The port of a proxy to the server on the loopback ``port``; ``loses`` is asked before each reply is passed on."""
    with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as opened:
        opened.callback(listening.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_accept, args=(listening, port, loses), daemon=True).start()
        yield listening.getsockname()[1]


def _accept(listening: socket.socket, port: int, loses: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for source, target, lost in ((client, server, lambda: False), (server, client, loses)):
                threading.Thread(target=_pass_on, args=(source, target, lost), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket, loses: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):
        while (data := source.recv(65_536)) and not loses():
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
