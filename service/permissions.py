"""What a stack may read, write and call, said before it is tried: IAM decides, this explains."""

from __future__ import annotations

import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem
from service.excerpt import excerpt
from service.limits import KEY_BYTES

if TYPE_CHECKING:
    from service.settings import Settings

OWN_PREFIXES = ("batches/", "outputs/", "stream/", "uploads/")


def allowed(patterns: tuple[str, ...], arn: str) -> bool:
    """Whether an ARN matches one of the patterns (`*` and `?` as in IAM)."""
    return any(re.fullmatch(translate(pattern.replace("[", "[[]")), arn) for pattern in patterns)


def check_target(settings: Settings, kind: str, arn: str) -> None:
    """Refuse a target that the stack's role may not call."""
    patterns, parameter = (settings.tool_arns, "ToolArns") if kind == "tool" else (settings.agent_arns, "AgentArns")
    unqualified = ":".join(arn.split(":")[:7])
    if not allowed(patterns, arn) and not allowed(patterns, unqualified):
        raise _refused("target.arn", f"this stack may not call {arn}: add it to", parameter, patterns)


def check_source(settings: Settings, bucket: str, key: str) -> None:
    """Refuse an object that the stack's roles may not read."""
    patterns = settings.source_object_arns
    if bucket != settings.data_bucket and not allowed(patterns, f"arn:{settings.partition}:s3:::{bucket}/{key}"):
        message = f"this stack may not read s3://{bucket}/{key}: copy it to s3://{settings.data_bucket}/, or add it to"
        raise _refused("csv_s3_uri", message, "SourceObjectArns", patterns)


def check_output(settings: Settings, bucket: str, key: str) -> None:
    """Refuse an object that the stack's role may not write, or that is another part's."""
    patterns = settings.output_object_arns
    if key.endswith("/") or len(key.encode(errors="replace")) > KEY_BYTES:
        what = f"give the CSV's own name, at most {KEY_BYTES} bytes with its folders"
        message = f"{excerpt(key, 80)!r} names no file: {what}"
        raise BatchRefused([Problem("output_key", message)])
    if bucket != settings.data_bucket:
        if not allowed(patterns, f"arn:{settings.partition}:s3:::{bucket}/{key}"):
            own = f"leave output_bucket out for its own bucket {settings.data_bucket}, or add it to"
            message = f"this stack may not write s3://{bucket}/{key}: {own}"
            raise _refused("output_bucket", message, "OutputObjectArns", patterns)
    elif key.startswith(OWN_PREFIXES):
        message = f"{key!r}: {', '.join(OWN_PREFIXES)} are the stack's own; use another prefix"
        raise BatchRefused([Problem("output_key", message)])


def _refused(path: str, message: str, parameter: str, patterns: tuple[str, ...]) -> BatchRefused:
    now = ", ".join(patterns) or "none"
    return BatchRefused([Problem(path, f"{message} the stack's parameter {parameter} and deploy again (now: {now})")])


def not_readable(uri: str) -> str:
    """Return what a 403 of HeadObject can mean: it has no body that would say so (S3 API reference, HeadObject)."""
    return (
        f"{uri} answers 403, which has three causes: it is not there (a bucket that may not be listed does not say "
        "so); it may not be read (the stack's parameter SourceObjectArns, or the bucket's policy); or it is encrypted "
        "with a KMS key that the stack may not use (the parameter KmsKeyArns, and the key's policy)"
    )


def key_refused(uri: str, error: Any) -> str | None:
    """Return what S3's error means when it is about a KMS key, None of any other.

    S3 names the action in the message of AccessDenied (S3 user guide, "Troubleshoot access denied errors"), and passes
    on errors of KMS as codes that begin with KMS. ("Error responses").
    """
    code, said = error.get("Code", ""), error.get("Message", "")
    if not code.startswith("KMS.") and not (code == "AccessDenied" and "kms:" in said.lower()):
        return None
    return (
        f"{uri} is encrypted with a KMS key that this stack may not use: add the key to the stack's parameter "
        f"KmsKeyArns and deploy again, and let the key's own policy allow it ({code}: {said})"
    )
