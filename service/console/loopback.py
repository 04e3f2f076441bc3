"""Where the web view and the server for agents listen: on this machine alone."""

from __future__ import annotations

import socket

from service.errors import BatchRefused, Problem

HOST = "127.0.0.1"


def listen(port: int | None) -> socket.socket:
    """Return a socket of this machine alone; raises BatchRefused when the port is taken."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port or 0))
        listening.listen()  # the address is printed before the server runs: who is quick waits for it
    except OSError as error:
        listening.close()
        raise BatchRefused([Problem("--port", f"{port}: {error.strerror}; leave it out for a free one")]) from error
    return listening
