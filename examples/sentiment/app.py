"""`sentiment`: whether a text is positive, neutral or negative."""

from __future__ import annotations

import functools
import sys
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

# The limits that VADER's authors give for its compound score (-1 … +1); between them a text is neutral.
POSITIVE_FROM = 0.05
NEGATIVE_TO = -0.05


@functools.cache
def analyzer() -> SentimentIntensityAnalyzer:
    """Make the process's one analyzer, at the first call: it reads a lexicon of half a megabyte."""
    return SentimentIntensityAnalyzer()


def classify(text: str) -> dict[str, Any]:
    """Give one text its category, compound score and confidence.

    `confidence_score` (0 … 1) says how far the compound score lies towards the category: its distance from 0 for
    positive and negative, 1 minus that distance for neutral. It is no probability of being right.
    """
    compound = analyzer().polarity_scores(text)["compound"]
    strength = abs(compound)
    if compound >= POSITIVE_FROM:
        category = "positive"
    elif compound <= NEGATIVE_TO:
        category = "negative"
    else:
        category, strength = "neutral", 1 - strength
    return {"category": category, "confidence_score": round(strength, 4), "compound": compound}


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry: `{"name", "id", "input": {"text"}}` or the bare input; `review` serves as well as `text`."""
    given = event["input"] if isinstance(event.get("input"), dict) else event
    text = given.get("text") or given.get("review")
    usable = isinstance(text, str) and bool(text.strip())
    # One line a call, never the text: a quiet function is slow on the local AWS, and rows do not belong in logs.
    sys.stderr.write(f"sentiment: {'ok' if usable else 'refused'}\n")
    if not usable:
        raise ValueError("the input has no text: 'text' (or 'review') is absent, blank or not a string")
    return classify(text)
