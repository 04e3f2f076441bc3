"""Who may speak to the web view, and what its answers forbid."""

from __future__ import annotations

from typing import Any

import pytest
from made_ui import HOST, PORT, Visitor, bare_app, visitor

from service.console.web.gate import Gate
from service.errors import NotFound

PAGES = ("/", "/batch?id=a%23b", "/batch/failed?id=a%23b", "/batch/row?id=a%23b&row=1", "/batch/rerun?id=a%23b")
OTHERS = ("/batch/csv?id=a%23b", "/assets/ui.css", "/assets/ui.js", "/assets/page.css", "/nothing", "/assets/ui.py")
CHANGES = ("/batch/stop", "/batch/rerun/start", "/batch/csv/again")


class Records:
    """Records that only tell that they were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, batch_id: str) -> Any:
        self.asked.append(batch_id)
        raise NotFound(f"there is no batch {batch_id!r} here")


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def stranger(records: Records) -> Visitor:
    app = bare_app()
    app.records = records
    return visitor(app)


@pytest.fixture
def known(stranger: Visitor) -> Visitor:
    return stranger.enter()


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_nothing_is_answered_without_the_cookie(stranger: Visitor, records: Records, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 403
    assert "Open the whole address" in answer.text
    assert records.asked == []
    for change in CHANGES:
        assert stranger.post(change, id="a#b").status_code == 403
    assert records.asked == []


@pytest.mark.parametrize("value", ["", "x", "é", "\x00"])
def test_a_wrong_cookie_is_none(stranger: Visitor, value: str) -> None:
    stranger.client.set_cookie(stranger.gate.cookie, value, domain="127.0.0.1")
    assert stranger.get("/batch?id=x").status_code == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "localhost",
        f"127.0.0.1:{PORT + 1}",
        f"127.0.0.2:{PORT}",
        "",
    ],
)
def test_another_host_is_refused_even_with_the_cookie(known: Visitor, records: Records, host: str) -> None:
    own = known.get("/batch?id=x")
    assert own.status_code == 404
    answer = known.get("/batch?id=x", headers={"Host": host})
    assert answer.status_code == 403
    assert known.get(f"/?token={known.gate.token}", headers={"Host": host}).status_code == 403
    assert records.asked == ["x"]


def test_localhost_is_a_name_of_this_machine(stranger: Visitor) -> None:
    host = f"localhost:{PORT}"
    assert stranger.get(f"/?token={stranger.gate.token}", host=host).status_code == 200
    assert stranger.get("/batch?id=x", host=host).status_code == 404


def test_the_usual_port_is_left_out_of_a_host() -> None:
    assert {"127.0.0.1", "localhost:80"} < Gate(80).hosts
    assert "127.0.0.1" not in Gate(PORT).hosts


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_have(stranger: Visitor) -> None:
    answer = stranger.get(f"/?token={stranger.gate.token}")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"batch-processor-{PORT}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert stranger.gate.token not in cookie + answer.text
    assert stranger.gate.csrf not in cookie
    assert '<meta http-equiv="refresh" content="0; url=/">' in answer.text
    again = stranger.get(f"/?token={stranger.gate.token}")
    assert (again.status_code, again.headers["Location"]) == (303, "/")


def test_a_wrong_token_gives_nothing(stranger: Visitor) -> None:
    for token in ("", "x", stranger.gate.token[:-1], stranger.gate.csrf, stranger.gate.token.swapcase()):
        answer = stranger.get("/", query_string={"token": token})
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
    assert stranger.get(f"/batch?token={stranger.gate.token}").status_code == 403
    assert stranger.get("/batch?id=x").status_code == 403


def test_the_token_for_a_browser_that_is_opened_is_good_once(stranger: Visitor) -> None:
    token = stranger.gate.once()
    assert stranger.get(f"/?token={token}").status_code == 200
    for given, code in ((token, 403), (stranger.gate.token, 200)):
        stranger.client = stranger.app.test_client()
        assert stranger.get(f"/?token={given}").status_code == code


def test_secrets_are_long_and_of_one_server() -> None:
    one, other = Gate(PORT), Gate(PORT)
    secrets = [one.token, one.csrf, one.once(), one.once(), other.token, other.csrf]
    assert len(set(secrets)) == len(secrets)
    assert min(map(len, secrets)) >= 43  # 32 bytes
    assert one.address(one.token) == f"http://{HOST}/?token={one.token}"


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize(
    ("sent", "reaches"),
    [
        ({}, True),
        ({"origin": None}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": f"https://{HOST}"}, False),
        ({"origin": f"http://localhost:{PORT}"}, False),
        ({"origin": f"http://{HOST}.evil.example"}, False),
        ({"csrf": None}, False),
        ({"csrf": ""}, False),
        ({"csrf": "é"}, False),
    ],
)
def test_only_a_form_of_ours_changes_anything(
    known: Visitor, records: Records, path: str, sent: dict[str, Any], *, reaches: bool
) -> None:
    answer = known.post(path, id="a#b", **sent)
    assert (answer.status_code, records.asked) == ((404, ["a#b"]) if reaches else (403, []))


@pytest.mark.parametrize("path", CHANGES)
def test_nothing_changes_by_being_looked_at(known: Visitor, records: Records, path: str) -> None:
    sent = {"id": "a#b", "csrf": known.gate.csrf}
    assert known.get(path, query_string=sent).status_code == 405
    put = known.client.put(path, base_url=f"http://{HOST}", data=sent, headers={"Origin": f"http://{HOST}"})
    assert put.status_code == 405
    assert records.asked == []


def test_a_form_is_small(known: Visitor, records: Records) -> None:
    assert known.post("/batch/stop", id="x" * 70_000).status_code == 413
    assert records.asked == []


@pytest.mark.parametrize("path", ["/", "/batch?id=x", "/assets/ui.js", "/nothing", "/batch/stop"])
def test_every_answer_forbids_the_rest(stranger: Visitor, path: str) -> None:
    answers = [stranger.get(path)]
    stranger.enter()
    if path != "/":  # asks the stack for batches
        answers.append(stranger.get(path))
    for answer in answers:
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        assert policy.pop("default-src") == policy.pop("base-uri") == policy.pop("frame-ancestors") == "'none'"
        assert set(policy.values()) == {"'self'"}
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def test_only_the_named_assets_are_served(known: Visitor) -> None:
    assert known.get("/assets/ui.css").mimetype == "text/css"
    assert known.get("/assets/page.css").mimetype == "text/css"
    assert known.get("/assets/ui.js").mimetype == "text/javascript"
    assert known.get("/assets/icon.svg").mimetype == "image/svg+xml"
    for name in ("layout.html", "../ui.py", "..%2fui.py", "page.js", ""):
        assert known.get(f"/assets/{name}").status_code == 404


def test_what_goes_wrong_is_a_page(known: Visitor) -> None:
    answer = known.get("/batch?id=%3Cb%3E")
    assert "there is no batch &#39;&lt;b&gt;&#39; here" in answer.text
    assert "There is nothing here" in known.get("/nothing").text


def test_what_nobody_expected_is_told_at_the_terminal_and_not_in_the_page(
    known: Visitor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(Records, "get", broken)
    answer = known.get("/batch?id=x")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "of all things" not in answer.text
    assert "of all things" in caplog.text


def test_a_stack_that_has_ended_is_told_at_once(records: Records) -> None:
    app = bare_app()
    app.records, app.endpoint_url = records, "http://127.0.0.1:9"  # discard: nothing listens there
    gone = visitor(app).enter()
    answer = gone.get("/batch?id=x")
    assert answer.status_code == 503
    assert "batch-processor local start" in answer.text
    assert gone.get("/assets/ui.css").status_code == 200
    assert records.asked == []
