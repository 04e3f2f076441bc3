"""The web view of a stack, and somebody who visits it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from service.console.stacks import Stack
from service.console.web import wsgi
from service.console.web.gate import Gate
from service.console.web.orders import Orders

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

PORT = 8123
HOST = f"127.0.0.1:{PORT}"
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:batches"


@dataclass
class Visitor:
    """A browser, as far as these tests need one."""

    app: Flask
    gate: Gate
    orders: Orders
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()

    def get(self, path: str, host: str = HOST, **more: Any) -> TestResponse:
        answer: TestResponse = self.client.get(path, base_url=f"http://{host}", **more)
        return answer

    def enter(self) -> Visitor:
        assert self.get(f"/?token={self.gate.token}").status_code == 200
        return self

    def post(self, path: str, origin: str | None = f"http://{HOST}", **fields: Any) -> TestResponse:
        """Sends a form as our own pages do; `csrf=None` leaves its token out."""
        sent = {name: value for name, value in {"csrf": self.gate.csrf, **fields}.items() if value is not None}
        headers = {} if origin is None else {"Origin": origin}
        answer: TestResponse = self.client.post(path, base_url=f"http://{HOST}", data=sent, headers=headers)
        return answer

    def read(self, path: str, **query: Any) -> Page:
        """A page that is there."""
        answer = self.get(path, query_string=query)
        assert answer.status_code == 200, answer.text
        return Page.of(answer.text)


def visitor(app: Any, stack_name: str | None = None) -> Visitor:
    stack = Stack(app, "a stack of tests", MACHINE, "aggregator")
    gate, orders = Gate(PORT), Orders(stack)
    return Visitor(wsgi.create(stack, gate, orders, stack_name), gate, orders)


def bare_app(**parts: Any) -> Any:
    """As much of an app as a page without AWS needs."""
    names = ("s3", "stepfunctions", "store", "reader", "plans", "records", "queries")
    return SimpleNamespace(endpoint_url=None, **dict.fromkeys(names), **parts)


@dataclass
class Page:
    """A page as its reader gets it."""

    html: str
    text: str
    links: dict[str, str]
    tags: set[str]
    forms: list[str]

    @classmethod
    def of(cls, html: str) -> Page:
        reader = _Reader()
        reader.feed(html)
        return cls(html, " ".join("".join(reader.words).split()), reader.links, reader.tags, reader.forms)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: dict[str, str] = {}
        self.tags: set[str] = set()
        self.forms: list[str] = []
        self._href: str | None = None
        self._linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        assert not [name for name in given if re.match("on|style", name)], f"{tag} {given}: its policy forbids that"
        if tag == "a":
            self._href, self._linked = given["href"], []
        if tag == "form" and given.get("method") == "post":
            self.forms.append(str(given["action"]))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._href is not None:
            self.links["".join(self._linked).strip()] = self._href
            self._href = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._href is not None:
            self._linked.append(data)
