"""Limits of AWS, and of ours that follow from them, with their sources; what one module alone needs stands there."""

from __future__ import annotations

# DynamoDB guide, "Quotas": an item holds 400 KB, the names of its attributes included; "Query": a page holds 1 MB.
ITEM_BYTES = 390_000  # of a result
PLAN_BYTES = 380_000  # of a plan, compressed
INVALID_ROW_BYTES = 350_000  # of a row that is stored with why it could not be mapped
KEPT_IN_ITEM = 4_096  # bytes of compressed output that stand in the item; larger ones go to S3
PAGE_BYTES = 1 << 20

# Step Functions quotas: a state's payload holds 262,144 bytes of UTF-8, an execution's history 25,000 events. Beside
# its row a failure's state holds a cause of up to 32,768 characters, escaped once more: where that does not fit, the
# whole chunk would fail. The results of a chunk need room beside its rows.
ROW_BYTES = 190_000  # of a row and what the target is given
CHUNK_BYTES = 150_000  # of the rows of a chunk
HEADER_BYTES = 60_000  # of the names of all columns: they travel and are stored with every row
HISTORY_EVENTS = 25_000
CHUNK_ROWS = 100
INNER = 5  # rows in flight per chunk that concurrency is split into
EXPRESS_INNER = 20  # the same in an EXPRESS execution, whose time is paid for
# Five minutes of an EXPRESS execution, less what its functions wait for and the storing of the last results takes.
EXPRESS_SECONDS = 240
FIRST_ROWS = 20  # that all fail for one cause, before a batch is stopped for it
SHARDS = 16  # partition keys a day of timestamp-index is spread over
LONGEST_RUN = 7 * 86_400  # seconds: TimeoutSeconds of the state machine

# S3 guide, "Naming Amazon S3 objects" and "Multipart upload limits": 10,000 parts of 5 MiB to 5 GiB, so 80 GB.
KEY_BYTES = 1_024
PART = 8 << 20
