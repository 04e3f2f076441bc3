from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from service.store import attribute_values
from service.store.put_body import write_bodies

SCALARS = st.none() | st.booleans() | st.text() | st.integers() | st.floats() | st.binary()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
REST: dict[str, Any] = {
    "ConditionExpression": "attribute_not_exists(#a)",
    "ExpressionAttributeNames": {"#a": "ä"},
    "ExpressionAttributeValues": {":a": {"B": b"\0"}},
    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
}


class Empty:
    @staticmethod
    def stream() -> list[bytes]:
        return [b"{}"]


def client() -> tuple[Any, list[Any]]:
    """A client that sends nothing, and what it would have sent."""
    made = botocore.session.Session().create_client(
        "dynamodb",
        "us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        aws_account_id="111122223333",
        config=Config(parameter_validation=False),
    )
    sent: list[Any] = []

    def send(request: Any, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, Empty())

    made.meta.events.register("before-send", send)
    return made, sent


(BOTOCORES, SENT), (OURS, OUR_SENT) = client(), client()
write_bodies(OURS)


@given(VALUES)
def test_a_body_says_what_botocores_says(value: Any) -> None:
    item = {"key": {"S": "ä"}, "value": attribute_values.encode(value), "set": {"BS": [b"\0", b"a"]}}
    for one in (BOTOCORES, OURS):
        one.put_item(TableName="table", Item=item, **REST)
    theirs, ours = SENT.pop(), OUR_SENT.pop()
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.url == theirs.url
    assert ours.headers.keys() == theirs.headers.keys()
    for name in ("X-Amz-Target", "Content-Type"):
        assert ours.headers[name] == theirs.headers[name]


def test_other_operations_are_botocores() -> None:
    for one in (BOTOCORES, OURS):
        one.get_item(TableName="table", Key={"key": {"B": b"\0"}})
    assert OUR_SENT.pop().body == SENT.pop().body


def test_the_endpoint_is_that_of_the_table() -> None:
    """An account's own, where the credentials name one: of the table's account, when it is named by its ARN."""
    for table in ("table", "arn:aws:dynamodb:us-east-1:444455556666:table/table"):
        for one in (BOTOCORES, OURS):
            one.put_item(TableName=table, Item={"key": {"S": "a"}})
    hosts = [[request.url.split("/")[2].split(".")[0] for request in sent] for sent in (SENT, OUR_SENT)]
    SENT.clear()
    OUR_SENT.clear()
    assert hosts == [["111122223333", "444455556666"]] * 2


def test_threads_do_not_mix_their_bodies() -> None:
    def put(number: int) -> None:
        OURS.put_item(TableName=f"table-{number}", Item={"number": {"N": str(number)}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(200)))
    bodies = [json.loads(request.body) for request in OUR_SENT]
    OUR_SENT.clear()
    assert sorted(int(body["Item"]["number"]["N"]) for body in bodies) == list(range(200))
    assert all(body["TableName"] == f"table-{body['Item']['number']['N']}" for body in bodies)


def test_what_has_no_wire_form_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError):
        OURS.put_item(TableName="table", Item={"key": {"S": {1, 2}}})
    assert OUR_SENT == []
