"""Start: a batch for a file that was put under the inbox, or for the source of a schedule; off unless asked for."""

from __future__ import annotations

import os
from typing import Any

from service.app import from_environment
from service.steps.start import Starter


def handler(event: Any, _context: Any) -> Any:
    """`event`: of EventBridge, "Object Created" of S3, or the schedule's own with csv_s3_uri."""
    return Starter(from_environment(), os.environ["STATE_MACHINE_ARN"], os.environ.get("INBOX", "")).start(event)
