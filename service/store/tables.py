"""PynamoDB models: the one definition in code of the three tables of template.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)
from pynamodb.exceptions import PynamoDBException
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex, IncludeProjection
from pynamodb.models import Model

if TYPE_CHECKING:
    from service.settings import Settings


TableError = PynamoDBException  # what a query or scan raises: the ClientError behind it is its cause


class StatusIndex(GlobalSecondaryIndex["ResultItem"]):
    """Rows that did not succeed, by status, in row order; sparse."""

    class Meta:
        index_name = "status-index"
        projection = IncludeProjection(
            ["status", "error", "attempts", "run", "execution_time_ms", "timestamp", "ttl", "input_data"]
        )

    batch_id = UnicodeAttribute(hash_key=True)
    failed_status = UnicodeAttribute(range_key=True)


class TimestampIndex(GlobalSecondaryIndex["ResultItem"]):
    """Results of any batch in a span of time."""

    class Meta:
        index_name = "timestamp-index"
        projection = IncludeProjection(["status", "error", "attempts", "run", "execution_time_ms", "ttl"])

    time_bucket = UnicodeAttribute(hash_key=True)
    timestamp = UnicodeAttribute(range_key=True)


class ResultItem(Model):
    """One row's result."""

    class Meta:
        table_name = "batch_processor_results"
        billing_mode = "PAY_PER_REQUEST"

    batch_id = UnicodeAttribute(hash_key=True)
    row_id = UnicodeAttribute(range_key=True)
    status = UnicodeAttribute()
    input_data: MapAttribute[str, Any] = MapAttribute(null=True)
    output_data: MapAttribute[str, Any] = MapAttribute(null=True)
    execution_time_ms = NumberAttribute(null=True)
    timestamp = UnicodeAttribute()
    ttl = NumberAttribute(null=True)
    attempts = NumberAttribute(default=1)
    run = NumberAttribute(default=1)
    error: MapAttribute[str, Any] = MapAttribute(null=True)
    method = UnicodeAttribute(null=True)
    output = BinaryAttribute(null=True, legacy_encoding=False)
    output_s3_uri = UnicodeAttribute(null=True)
    failed_status = UnicodeAttribute(null=True)
    time_bucket = UnicodeAttribute()
    status_index: ClassVar[StatusIndex] = StatusIndex()
    timestamp_index: ClassVar[TimestampIndex] = TimestampIndex()


class ListingIndex(GlobalSecondaryIndex["BatchItem"]):
    """Batch records by the time they were prepared; chunk records carry no `listing` and stay out."""

    class Meta:
        index_name = "listing-index"
        projection = AllProjection()

    listing = UnicodeAttribute(hash_key=True)
    prepared_at = UnicodeAttribute(range_key=True)


class BatchItem(Model):
    """`item` is `batch` for the record, `plan#{hash}` for a plan, `chunk#{run}#{number}` for a finished chunk.

    An item `output` has an object's s3:// URI in the place of the id, and the batch that writes to it as `holder`.
    """

    class Meta:
        table_name = "batch_processor_batches"
        billing_mode = "PAY_PER_REQUEST"

    batch_id = UnicodeAttribute(hash_key=True)
    item = UnicodeAttribute(range_key=True)
    listing = UnicodeAttribute(null=True)
    prepared_at = UnicodeAttribute(null=True)
    tool_name = UnicodeAttribute(null=True)
    target = JSONAttribute(null=True)
    status = UnicodeAttribute(null=True)
    source = JSONAttribute(null=True)
    plan_hash = UnicodeAttribute(null=True)
    output_columns = JSONAttribute(null=True)
    csv = JSONAttribute(null=True)
    csv_location = UnicodeAttribute(null=True)
    output_bucket = UnicodeAttribute(null=True)
    output_key = UnicodeAttribute(null=True)
    manifest_key = UnicodeAttribute(null=True)
    chunks_key = UnicodeAttribute(null=True)
    row_count = NumberAttribute(null=True)
    rows_to_run = NumberAttribute(null=True)
    run = NumberAttribute(null=True)
    runs = JSONAttribute(null=True)
    execution_arn = UnicodeAttribute(null=True)
    started_at = UnicodeAttribute(null=True)
    ended_at = UnicodeAttribute(null=True)
    expires_at = NumberAttribute(null=True)
    stop = BooleanAttribute(null=True)
    stop_reason = UnicodeAttribute(null=True)
    counts = JSONAttribute(null=True)
    counts_exact = BooleanAttribute(null=True)
    kept_counts = JSONAttribute(null=True)
    chunks = JSONAttribute(null=True)
    lost = JSONAttribute(null=True)
    errors = JSONAttribute(null=True)
    slowest = JSONAttribute(null=True)
    fields = JSONAttribute(null=True)
    guarded_cells = NumberAttribute(null=True)
    error: MapAttribute[str, Any] = MapAttribute(null=True)
    execution_time_ms = NumberAttribute(null=True)
    rows = NumberAttribute(null=True)
    first_row = NumberAttribute(null=True)
    plan = BinaryAttribute(null=True, legacy_encoding=False)
    holder = UnicodeAttribute(null=True)
    ttl = NumberAttribute(null=True)
    listing_index: ClassVar[ListingIndex] = ListingIndex()


class TargetItem(Model):
    """One version of a registered tool or agent."""

    class Meta:
        table_name = "batch_processor_registry"
        billing_mode = "PAY_PER_REQUEST"

    tool_name = UnicodeAttribute(hash_key=True)
    version = NumberAttribute(range_key=True)
    tool_type = UnicodeAttribute()
    resource_arn = UnicodeAttribute()
    description = UnicodeAttribute(null=True)
    input_schema = JSONAttribute(null=True)
    output_schema = JSONAttribute(null=True)
    registered_at = UnicodeAttribute(null=True)
    price_per_row_usd = NumberAttribute(null=True)
    fail_when = JSONAttribute(null=True)
    retry_when = JSONAttribute(null=True)
    idempotent = BooleanAttribute(null=True)


def bind(settings: Settings, dynamodb: Any) -> None:
    """Points the models at one stack's tables, through the client that everything else uses.

    PynamoDB keeps one connection per model class, and would make a session and a client for each, which takes longer
    than all else at a start.
    """
    for model, name in (
        (ResultItem, settings.results_table),
        (BatchItem, settings.batches_table),
        (TargetItem, settings.registry_table),
    ):
        meta: Any = model.Meta
        meta.table_name = name
        model._connection = None  # noqa: SLF001 - how PynamoDB 6 forgets a table's old name
        model._get_connection().connection._client = dynamodb  # noqa: SLF001 - it takes none from outside
