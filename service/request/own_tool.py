"""The batch processor as a tool of agents: its name, what it does, and the JSON Schema of its input."""

from __future__ import annotations

from typing import Any

from service.request.models import BatchInput

NAME = "batch_processor"
# At most 1,024 characters: OpenAI refuses a longer description of a function.
DESCRIPTION = (
    "Runs every row of a CSV in S3 through one tool (Lambda function) or agent (state machine) and writes a CSV of the "
    "results. For the same work on 10 to 10 million rows. It takes minutes to days: start it once and wait.\n"
    "Cost: about $0.05 per 1,000 rows, plus at least one call of the target for each row. For a trial set limit; "
    "max_cost_usd and max_failures stop it early.\n"
    "Side effects: those of the target, up to max_attempts times per row; one file in S3.\n"
    "Returns status, batch_id, csv_location, row_count, counts by status, errors (causes with examples), fields. "
    "SUCCEEDED: every row did. PARTIAL: some failed. INCOMPLETE: stopped early, or rows missing. If no row succeeded, "
    "or the input is refused, it fails with that result, or every problem of the input, as the cause.\n"
    "On an error: correct what the cause names and start again; a refused input ran nothing. rerun_of with the "
    "batch_id runs only rows that did not succeed; no success is paid for twice."
)

# By the place in the input. A test says that no key is left out.
_TOLD = {
    "csv_s3_uri": "The source, s3://bucket/key: a CSV with a header. Required, unless rerun_of is given.",
    "target": "What each row is given to: a registered name, an ARN, or an object. Required, unless rerun_of is given.",
    "target.type": "Is looked up; given here, it is compared with what was found.",
    "target.name": "The registered name.",
    "target.arn": "The ARN of the Lambda function or the state machine; not needed for a registered name.",
    "target.idempotent": "True: a row may be given to it twice, so its chunks may run in executions that cost less. "
    "Left out: as it is registered.",
    "input_mapping": 'Which columns the target is given, such as {"column_mappings": {"column": "field"}}. Left out: '
    "all columns, under their own names.",
    "output_mapping": "Where the CSV's fields are in the target's output, such as "
    '{"extraction_methods": [{"method": "direct", "field_mappings": {"field": "path.in.output"}}]}. Left out: the '
    "target's registered schema, or else the output's top-level keys.",
    "output_mappings": 'The same by target: {"target name": {"extraction_methods": […]}}. Give one of the two.',
    "execution_config": "Limits of the batch.",
    "execution_config.max_concurrency": "Rows in flight, never exceeded.",
    "execution_config.timeout_seconds": "Seconds for one call of the target.",
    "execution_config.retry_policy": "How often the target is called for one row, and the waits between (seconds).",
    "execution_config.retry_policy.max_attempts": "Calls for one row, the first one included.",
    "execution_config.retry_policy.backoff_rate": "Each wait is this many times the one before.",
    "execution_config.retry_policy.initial_seconds": "The first wait.",
    "execution_config.retry_policy.max_seconds": "The longest wait.",
    "execution_config.retry_policy.retry_on": "Names of errors after which the target is called again. Left out: every "
    "error that another call may change.",
    "execution_config.retry_policy.throttled_seconds": "How long a row may wait, in all, for a target that is asked "
    "too much at once; such waits use no attempt.",
    "execution_config.continue_on_error": "False: the first row that fails stops the batch.",
    "execution_config.max_failures": "The batch stops when more rows than this have failed.",
    "execution_config.max_failure_rate": "The batch stops when a larger share than this has failed, of 100 or more.",
    "execution_config.max_cost_usd": "The batch stops when this many US dollars are spent.",
    "execution_config.limit": "Run only the first N rows; rerun_of runs the others later.",
    "execution_config.sample": "Run only N rows, spread over the file; rerun_of runs the others later.",
    "execution_config.ttl_days": "Days that the results of rows are kept after the run; null: for good.",
    "execution_config.keep_output": "Keep the target's whole output, so that other fields can be extracted later.",
    "execution_config.keep_going": "True: the batch is not stopped when its first 20 rows all fail for one cause.",
    "execution_config.chunks": "The executions that run the rows: express costs less, for short calls of a target to "
    "which a row may be given twice; auto takes it where it can be.",
    "source": "How the source is read.",
    "source.encoding": "Such as utf-8, cp1252 or gb18030. Left out: detected.",
    "source.delimiter": "A comma, semicolon, tab or |. Left out: detected.",
    "source.etag": "The ETag of the version that is meant; the batch is refused when the source is another one.",
    "csv": "How the results are written.",
    "csv.format": "The form of the results.",
    "csv.column_style": "plain leaves the prefixes input_ and output_ away where no names collide.",
    "csv.neutralise_formulas": "Put a ' before cells that a spreadsheet would run as a formula.",
    "output_bucket": "The bucket of the results. Left out: the stack's own.",
    "output_key": "The key of the results. Left out: made of the batch's id.",
    "rerun_of": "Run rows of a batch that has ended again: its batch_id for all that did not succeed, or an object for "
    "fewer. Rows that succeeded stay as they are.",
    "rerun_of.batch_id": "The batch_id of the result.",
    "rerun_of.status": "Only rows of these: FAILED, TIMEOUT, INVALID_INPUT, EXTRACTION_FAILED, NOT_RUN, MISSING.",
    "rerun_of.rows": "Only these rows, such as 7,12-40.",
    "rerun_of.stored_input": "Run the rows as they are stored, not as the source has them.",
}
START, STATUS = "start_batch", "batch_status"
_NAME = {
    "type": "string",
    "description": "A name of your own for this work, of letters, digits, _ and -, at most 80. The same name with the "
    "same input starts no second batch.",
}
_ID = {"type": "string", "description": "The batch_id that start_batch returned."}
_SHORT = ("target", "rerun_of")  # a text stands for the object with only that name
_NULL = ("execution_config.ttl_days",)  # whose null is a value of its own
_LEFT_OUT = ("title", "anyOf", "default", "$ref", "description")
# What pydantic leaves under its own names where a validator stands before a number's type.
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def input_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a batch's input, made of the models that read it.

    It holds neither `$ref`, which not every caller follows, nor a combination at its top, which LLM APIs refuse. So
    that `csv_s3_uri` and `target` are required is said in words; PrepareBatch sees to it.
    """
    whole = BatchInput.model_json_schema()
    return _plain(whole, whole.pop("$defs"), "")


def _plain(schema: dict[str, Any], defs: dict[str, Any], place: str) -> dict[str, Any]:
    """Return one value's schema: references written out, no titles, null only where it means something."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null" or place in _NULL]
    if len(choices) == 1:
        schema, choices = {**schema, **choices[0]}, []
    if "$ref" in schema:
        schema = {**schema, **defs[schema["$ref"].rpartition("/")[2]]}
    made = {_BOUNDS.get(key, key): value for key, value in schema.items() if key not in _LEFT_OUT}
    if choices:
        made["anyOf"] = [_plain(one, defs, "") for one in choices]
    if isinstance(schema.get("default"), str | int | float) and schema["default"] != "":
        made["default"] = schema["default"]
    if "properties" in schema:
        prefix = f"{place}." if place else ""
        made["properties"] = {key: _plain(one, defs, prefix + key) for key, one in schema["properties"].items()}
    if place in _SHORT:
        made = {"anyOf": [{"type": "string"}, made]}
    if place in _TOLD:
        made["description"] = _TOLD[place]
    return made


def tools_that_do_not_wait() -> list[tuple[str, str, dict[str, Any]]]:
    """Return name, description and input schema of the two tools for callers that cannot wait for a batch."""
    whole = input_schema()
    start = {**whole, "properties": {"name": _NAME, **whole["properties"]}, "required": ["name"]}
    status = {"type": "object", "properties": {"batch_id": _ID}, "required": ["batch_id"]}
    asking = (
        "Says where a batch stands: status, counts of rows, and when it has ended the place of the CSV and the causes "
        "of failures. Costs nothing worth counting, changes nothing. While status is PREPARING, RUNNING, STOPPING or "
        "AGGREGATING, ask again after wait_seconds. On error, the batch_id is wrong or the batch is not prepared yet."
    )
    begun = f"Starts a batch and returns its batch_id at once; then ask {STATUS}. {DESCRIPTION}"
    return [(START, begun, start), (STATUS, asking, status)]
