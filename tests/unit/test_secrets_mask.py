from __future__ import annotations

import pytest

from service.models import MESSAGE_LIMIT, error_of
from service.secrets_mask import MASK, masked

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAK=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("401 Unauthorized: invalid x-api-key sk-live-SECRET123", "401 Unauthorized: invalid x-api-key ***"),
        ("Incorrect API key provided: sk-proj-abc12***wxyz. You", "Incorrect API key provided: ***. You"),
        ("bad key sk-ant-api03-AbCdEf0123456789_-xyz", "bad key ***"),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "***"),
        ("the access key AKIAIOSFODNN7EXAMPLE is not valid", "the access key *** is not valid"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key=***"),
        ('{"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG"}', '{"SecretAccessKey": "***"}'),
        ("token IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJ", "token ***"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "***"),
        ("xoxb-123456789012-abcdefghij", "***"),
        ("key AIzaSyA1234567890abcdefghijklmnopqrstuv", "key ***"),
        (f"Bearer {JWT}", "Bearer ***"),
        (JWT, "***"),
        ("Authorization: Bearer abc123def456", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "{'Authorization': 'Basic ***'}"),
        ("headers: authorization=token 0123456789abcdef", "headers: authorization=token ***"),
        ("postgres://app:hunter2@db.internal:5432/x refused", "postgres://app:***@db.internal:5432/x refused"),
        ("https://user:p@ss@host/path", "https://user:***@host/path"),
        ("redis://:s3cret@cache:6379", "redis://:***@cache:6379"),
        ("GET https://x.test/a?api_key=abcdef&q=1: 403", "GET https://x.test/a?api_key=***&q=1: 403"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0a1b2c&x=1", "https://b.s3.amazonaws.com/k?X-Amz-Signature=***&x=1"),
        ("password=hunter2, host=db", "password=***, host=db"),
        ("{'password': 'hunter two'}", "{'password': '***'}"),
        ('body {\\"password\\": \\"hunter\\"}', 'body {\\"password\\": \\"***\\"}'),
        ("client_secret: 8f3a91bc77", "client_secret: ***"),
        (f"key:\n{PEM}\nrejected", "key:\n***\nrejected"),
        (PEM[:50], "***"),
        ("x-api-key abcdef0123456789 refused", "x-api-key *** refused"),
    ],
)  # fmt: skip
def test_a_secret_is_masked_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rate limit: retry after 7 s",
        "row 550e8400-e29b-41d4-a716-446655440000 is not there",
        "commit 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "arn:aws:states:eu-west-1:123456789012:execution:my-agent:0a1b2c3d-17-1-1",
        "Unexpected token: something at position 12",
        "Unexpected token } in JSON at position 4096",
        "the bearer token is missing",
        "Basic authentication is required",
        "Authorization: the header is missing",
        "max_tokens: 4096 is above 2048",
        "the password must have 12 characters",
        "password: must not be empty",
        "api_key=None, token=null",
        "set api_key=${API_KEY} or password=<password>",
        "no module named 'sk-learn'; try scikit-learn",
        "risk-averse2024customers and task-12345678 and desk-1234567890",
        "no secret named my-secret: create it",
        "s3://bucket/key:with@sign",
        "https://host:8443/path refused",
        "duplicate key value violates constraint pk_orders_2024",
        "KeyError: 'name'",
        "the request 9f8e7d6c5b4a was throttled",
    ],
)
def test_words_ids_and_hashes_are_left_alone(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "sk-",
        "a",
        "eyJ",
        "://a:",
        "Bearer ",
        "password",
        "-----BEGIN PRIVATE KEY-----",
        "token=",
        "'\"",
        "api-key ",
        "SG.",
    ],
)
def test_the_time_grows_with_the_length(part: str) -> None:
    """Counted by steps that `re` takes would be best; a text that is quadratic would not end within the test's time."""
    assert len(masked(part * (100_000 // len(part)))) <= 110_000


def test_what_is_stored_of_an_error_holds_no_secret_not_even_cut() -> None:
    assert error_of("Key=sk-live-SECRET123", "password=hunter2") == {"type": "Key=***", "message": "password=***"}
    for length in range(MESSAGE_LIMIT - 30, MESSAGE_LIMIT + 1):
        message = error_of("E", "x" * length + " sk-live-" + "SECRET123" * 20)["message"]
        assert "SECRET" not in message
        assert len(message) <= MESSAGE_LIMIT
        assert message.strip("x …")[: len(MASK)] in ("***", "**", "*", "")
