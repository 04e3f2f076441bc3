"""The server over HTTP: on this machine alone, and for whoever has the token that it printed."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any

from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse

from service.console.loopback import HOST

if TYPE_CHECKING:
    import socket

    from mcp.server.mcpserver import MCPServer
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/mcp"
_REFUSED = "Give the header `Authorization: Bearer TOKEN` with the token that `batch-processor mcp --http` printed.\n"


class Door:
    """Lets requests with the token in, and answers all others with 401."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with the token, and the events of the server's own life."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._has_token(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = PlainTextResponse(_REFUSED, status_code=401, headers={"WWW-Authenticate": "Bearer"})
            await answer(scope, receive, send)
        # Anything else (a WebSocket) is not answered: uvicorn refuses it.

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def new_token() -> str:
    """Return a token: 256 random bits."""
    return secrets.token_urlsafe(32)


def application(server: MCPServer[Any], port: int, token: str) -> Door:
    """Return the application that a web server runs.

    Without sessions: each request is answered by itself, so another process answers the next one as well. Names of
    this machine are the only hosts and origins, so that no page in a browser gets through by a name of its own (MCP
    2026-07-28, basic/transports/streamable-http, "Security & Endpoint").
    """
    names = (f"{HOST}:{port}", f"localhost:{port}")
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(names),
        allowed_origins=[f"http://{name}" for name in names],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        transport_security=security,
        host=HOST,
    )
    return Door(app, token)


def serve(app: Door, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn  # noqa: PLC0415 - only what is served over HTTP needs it

    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])
