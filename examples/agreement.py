"""How often does a batch's category agree with the human raters? `python examples/agreement.py results.csv`.

Twenty people rated each review in whole points from -4 to +4; the file has their mean. The mean counts as neutral when
it rounds to 0 on their own scale (less than half a point either way), else its sign counts. Of the bands tried, 0 to 1
point, this one agrees most: 56.5 % to 59.9 %. A row without a category (it failed, or was not run) is counted apart and
not in the percentage.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CATEGORIES = ("positive", "neutral", "negative")
RATING, CATEGORY = "input_human_rating", "output_category"
NEUTRAL_BELOW = 0.5


def human_category(rating: float) -> str:
    """Name the raters' own category, from their mean rating."""
    if abs(rating) < NEUTRAL_BELOW:
        return "neutral"
    return "positive" if rating > 0 else "negative"


def agreement(lines: Iterable[Mapping[str, str]]) -> str:
    """Count the agreement: one line, and a table of the human category against the one found."""
    pairs: Counter[tuple[str, str]] = Counter()
    unanswered = 0
    for line in lines:
        if line[CATEGORY] in CATEGORIES:
            pairs[human_category(float(line[RATING])), line[CATEGORY]] += 1
        else:
            unanswered += 1
    total = pairs.total()
    agreed = sum(pairs[category, category] for category in CATEGORIES)
    share = f" ({100 * agreed / total:.1f} %)" if total else ""
    left_out = f"; {unanswered:,} without a category left out" if unanswered else ""
    table = [f"{'human | found':<14}" + "".join(f"{name:>10}" for name in CATEGORIES)]
    table += [f"{row:<14}" + "".join(f"{pairs[row, found]:>10,}" for found in CATEGORIES) for row in CATEGORIES]
    return "\n".join([f"{agreed:,} of {total:,}{share} agree with the human ratings{left_out}", *table])


def main(arguments: list[str]) -> int:
    """Print the agreement of one results CSV; 2 when it is not one."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python examples/agreement.py results.csv\n")
        return 2
    with Path(arguments[0]).open(encoding="utf-8-sig", newline="") as results:
        lines = csv.DictReader(results)
        missing = [name for name in (RATING, CATEGORY) if name not in (lines.fieldnames or ())]
        if missing:
            sys.stderr.write(f"{arguments[0]} has no column {' or '.join(missing)}: is it a batch's results?\n")
            return 2
        sys.stdout.write(agreement(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
