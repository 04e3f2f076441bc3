"""Tests of the records and the queries that the mock has passed, judged by DynamoDB itself."""

from __future__ import annotations

from test_batches import (  # noqa: F401
    test_a_record_is_created_once_and_opened_again_by_its_own_execution,
    test_chunks_by_run,
    test_plans,
    test_the_newest_come_first_and_chunks_are_not_among_them,
    test_the_stop_flag,
    test_updates,
    test_what_is_not_there,
)
from test_queries import (  # noqa: F401 - pytest finds them, and the fixture, by their names
    bound,
    test_a_count_sends_no_items_and_reads_no_batch_for_failures,
    test_a_row_as_it_is_shown,
    test_a_row_is_shown_to_its_last_second,
    test_all_batches_in_the_order_of_time_over_shards_and_days,
    test_counts,
    test_expired_rows_are_nowhere,
    test_failed_rows_by_error_and_the_types_there_are,
    test_failed_rows_come_by_status_in_row_order,
    test_pages_of_any_sizes_are_one_reading_whatever_changes_meanwhile,
    test_results_as_they_arrive,
)
