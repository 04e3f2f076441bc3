"""The web view of a stack as a WSGI application: its pages and forms, behind the gate."""

from __future__ import annotations

import socket
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from flask import Flask, abort, render_template, request, send_from_directory
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException, InternalServerError, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NothingThere

from service.console.report import wording
from service.console.report.shown_rows import visible
from service.console.web import labels
from service.console.web.actions import Actions
from service.console.web.gate import FIELD, guarded
from service.console.web.pages import Pages
from service.cost.estimate import money
from service.errors import BatchProcessorError, NotFound
from service.store.tables import TableError

if TYPE_CHECKING:
    from flask import Response

    from service.console.stacks import Stack
    from service.console.web.gate import Gate
    from service.console.web.orders import Orders

_OWN = Path(__file__).with_name("assets")
_REPORT = Path(__file__).parents[1] / "report" / "assets"
_ASSETS = {"page.css": _REPORT, "ui.css": _OWN, "ui.js": _OWN, "icon.svg": _OWN}
_LARGEST = 65_536  # bytes of a request: forms are small


class StackGone(Exception):
    """The embedded stack does not answer any more."""


def create(stack: Stack, gate: Gate, orders: Orders, stack_name: str | None = None) -> Flask:
    """Return the application of one stack; `stack_name` is that of a stack on AWS, as the commands shown name it."""
    app = Flask(__name__, static_folder=None, template_folder="assets")
    app.jinja_options = {
        "autoescape": True,
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    app.config["MAX_CONTENT_LENGTH"] = _LARGEST
    app.jinja_env.globals |= {"label": stack.label, "csrf": {"name": FIELD, "value": gate.csrf}, "words": wording}
    app.jinja_env.globals |= {"ui": labels, "money": money, "visible": visible}
    app.before_request(gate.check)
    app.before_request(lambda: _check_running(stack.app.endpoint_url))
    app.after_request(guarded)
    _warm(stack)
    pages, actions = Pages(stack, orders, stack_name), Actions(stack, orders)
    app.add_url_rule("/", view_func=pages.batches)
    app.add_url_rule("/batch", view_func=pages.batch)
    app.add_url_rule("/batch/failed", view_func=pages.failed)
    app.add_url_rule("/batch/row", view_func=pages.row)
    app.add_url_rule("/batch/rerun", view_func=pages.rerun)
    app.add_url_rule("/batch/csv", view_func=actions.download)
    app.add_url_rule("/batch/stop", view_func=actions.stop, methods=["POST"])
    app.add_url_rule("/batch/rerun/start", view_func=actions.run_again, methods=["POST"])
    app.add_url_rule("/batch/csv/again", view_func=actions.make_csv, methods=["POST"])
    app.add_url_rule("/assets/<name>", view_func=_asset)
    for kind in (BatchProcessorError, BotoCoreError, ClientError, TableError, StackGone, HTTPException):
        app.register_error_handler(kind, _problem)
    return app


def _check_running(endpoint_url: str | None) -> None:
    """Raise StackGone at once where botocore would try a closed port of this machine again and again."""
    if endpoint_url is None or request.endpoint == _asset.__name__:
        return
    place = urlsplit(endpoint_url)
    try:
        socket.create_connection((place.hostname or "", place.port or 80), timeout=2).close()
    except OSError:
        raise StackGone(
            "The embedded stack is not running any more. Start it with `batch-processor local start`, "
            "then reload this page; its batches are kept."
        ) from None


def _warm(stack: Stack) -> None:
    """Make the clients: a session is not to make them in several threads at once."""
    app = stack.app
    for made in ("s3", "stepfunctions", "store", "reader", "plans", "records", "queries"):
        getattr(app, made)


def _asset(name: str) -> Response:
    if name not in _ASSETS:
        abort(404)
    return send_from_directory(_ASSETS[name], name)


def _problem(error: Exception) -> tuple[str, int]:
    """Return an error as a page."""
    title, said, code = _words(error)
    unnamed = isinstance(error, NotFound | RequestEntityTooLarge)  # or its form cannot be read
    batch_id = None if unnamed else request.values.get("id")
    return render_template("error.html", title=title, said=visible(said, 5_000), batch_id=batch_id), code


def _words(error: Exception) -> tuple[str, str, int]:
    """Title, message and HTTP status of an error."""
    if isinstance(error, NotFound):
        return "There is no such batch", str(error), HTTPStatus.NOT_FOUND
    if isinstance(error, BatchProcessorError):
        return "That cannot be done now", str(error), HTTPStatus.CONFLICT
    if isinstance(error, StackGone):
        return "The stack does not answer", str(error), HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, InternalServerError):
        said = "The terminal in which `batch-processor ui` runs has more."
        return "Something went wrong here", said, HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, NothingThere):
        said = error.description if error.description != NothingThere.description else "There is no such page."
        return "There is nothing here", said or "", HTTPStatus.NOT_FOUND
    if isinstance(error, HTTPException):
        return error.name, error.description or "", error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    return "AWS did not do what was asked", str(error.__cause__ or error), HTTPStatus.BAD_GATEWAY
