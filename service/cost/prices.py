"""Prices of what a batch uses at AWS: one table, with its region, date and sources.

On demand, the first tier of each: free tiers, discounts for volume and taxes are left out. Checked against the pages
named and against what others say of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REGION = "us-east-1"
DATE = "2026-11"

_STANDARD = "AWS Step Functions pricing, Standard Workflows"
_EXPRESS = "AWS Step Functions pricing, Express Workflows"
_LAMBDA = "AWS Lambda pricing"
_DYNAMODB = "Amazon DynamoDB pricing, on-demand capacity"
_S3 = "Amazon S3 pricing, S3 Standard, requests"


@dataclass(frozen=True, slots=True)
class Price:
    """`usd` for `per` units; `source` is the page that says so."""

    unit: str
    usd: float
    per: float
    source: str

    def of(self, quantity: float) -> float:
        """US dollars for so many units."""
        return quantity / self.per * self.usd


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        "transitions": Price("transition", 25.0, 1e6, _STANDARD),
        "express_requests": Price("request", 1.0, 1e6, _EXPRESS),
        "express_gb_seconds": Price("GB-second", 0.06, 3600, _EXPRESS),
        "lambda_requests": Price("request", 0.20, 1e6, _LAMBDA),
        "lambda_gb_seconds": Price("GB-second", 13.3334, 1e6, f"{_LAMBDA}, arm64"),
        "lambda_gb_seconds_x86": Price("GB-second", 16.6667, 1e6, f"{_LAMBDA}, x86"),
        "write_units": Price("write unit", 0.625, 1e6, _DYNAMODB),
        "read_units": Price("read unit", 0.125, 1e6, _DYNAMODB),
        "storage_gb_months": Price("GB-month", 0.25, 1, "Amazon DynamoDB pricing, data storage"),
        "backup_gb_months": Price("GB-month", 0.20, 1, "Amazon DynamoDB pricing, point-in-time recovery"),
        "s3_puts": Price("PUT", 0.005, 1000, f"{_S3}: PUT, COPY, POST, LIST"),
        "s3_gets": Price("GET", 0.0004, 1000, f"{_S3}: GET and all others"),
        "traces": Price("trace", 5.0, 1e6, "AWS X-Ray pricing, traces recorded"),
    }
)
