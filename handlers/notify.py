"""Notify: what happens to batches, told to others; off unless a parameter asks for it."""

from __future__ import annotations

import os
from typing import Any

from service.app import from_environment
from service.steps.notify import Channels, notify


def handler(event: Any, _context: Any) -> None:
    """`event`: records of the stream of the batches table."""
    notify(from_environment(), Channels.from_environment(os.environ), event)
