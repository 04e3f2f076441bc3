"""Who may speak to the web view: the token of its address once, then a cookie; and what its pages may do.

The server is bound to 127.0.0.1, which keeps other machines out, but neither other users of this machine nor pages of
other sites in the same browser. The Host is compared, so that a name somebody else resolves to 127.0.0.1 is of no use;
the cookie is SameSite=Strict, so that other sites' requests come without it; what changes something needs a token of
the form besides, and an Origin of our own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Response, redirect, request

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

FIELD = "csrf"  # of every form
_READING = ("GET", "HEAD")
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    # With no-referrer a browser would send `Origin: null` with our own forms (Fetch Standard, "append a request
    # `Origin` header").
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">{more}<title>Batch processor</title></head>
<body><p>{said}</p></body></html>
"""


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass
class Gate:
    """The secrets of one server, and what it checks of every request."""

    port: int
    token: str = field(default_factory=_secret)
    csrf: str = field(default_factory=_secret)
    _session: str = field(default_factory=_secret)
    _once: set[str] = field(default_factory=set)

    @property
    def hosts(self) -> set[str]:
        """What a request's Host may be."""
        names = ("127.0.0.1", "localhost")
        return {f"{name}:{self.port}" for name in names} | (set(names) if self.port == 80 else set())

    @property
    def cookie(self) -> str:
        """The cookie's name: ports of one host share their cookies."""
        return f"batch-processor-{self.port}"

    def address(self, token: str) -> str:
        """Where the web view is entered."""
        return f"http://127.0.0.1:{self.port}/?token={token}"

    def once(self) -> str:
        """Return a token that is good for one entry: the command line of a browser can be read by others meanwhile."""
        token = _secret()
        self._once.add(token)
        return token

    def check(self) -> AnyResponse | None:
        """None of a request that may go on; else the answer to it."""
        if request.headers.get("Host", "").lower() not in self.hosts:
            return _refused(f"This server answers at 127.0.0.1:{self.port} and under no other name.")
        if request.path == "/" and request.method == "GET" and "token" in request.args:
            return self._enter(request.args["token"])
        if not self._has_cookie():
            return _refused(
                "Open the whole address that <code>batch-processor ui</code> printed, its token included: "
                "this browser has not shown it yet, or to a server that has ended."
            )
        return None if request.method in _READING else self._check_change()

    def _enter(self, token: str) -> AnyResponse:
        """Take the token out of the address, for a cookie.

        The page goes on by itself: after a redirect, a browser that came by another site's link would not send it.
        """
        if self._has_cookie():
            return redirect("/", 303)
        if _same(token, self.token):
            entered = True
        else:
            entered = token in self._once
            self._once.discard(token)
        if not entered:
            return _refused("That token is not the one of this server, or was good only once.")
        go_on = '<link rel="icon" href="/assets/icon.svg"><meta http-equiv="refresh" content="0; url=/">'
        answer = Response(_PAGE.format(more=go_on, said='<a href="/">To the batches</a>'))
        answer.set_cookie(self.cookie, self._session, httponly=True, samesite="Strict")
        return answer

    def _has_cookie(self) -> bool:
        return _same(request.cookies.get(self.cookie, ""), self._session)

    def _check_change(self) -> AnyResponse | None:
        if request.headers.get("Origin") != f"http://{request.headers['Host']}":
            return _refused("This was not sent by a page of this server: nothing was changed.")
        if not _same(request.form.get(FIELD, ""), self.csrf):
            return _refused("The form is of another server or an old one: reload its page. Nothing was changed.")
        return None


def guarded(answer: Response) -> Response:
    """Return the answer with what its page may do.

    Load and send nothing beyond this server, be framed and kept by nobody.
    """
    for name, value in _HEADERS.items():
        answer.headers[name] = value
    return answer


def _refused(said: str) -> Response:
    return Response(_PAGE.format(more="", said=said), 403)


def _same(given: str, ours: str) -> bool:
    return secrets.compare_digest(given.encode(errors="replace"), ours.encode())
