"""`make demo`: product reviews through the application on this machine, then a batch in which rows fail."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
COMMAND = Path(sys.executable).with_name("batch-processor")
RESULTS = Path("build/demo")
BATCH_PROCESSOR = "batch-processor"


def say(text: str) -> None:
    """Print a heading."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)  # noqa: T201 - this is what the demo is for


def show(*words: str, program: Path = COMMAND, good: tuple[int, ...] = (0,)) -> None:
    """Print a command as one would type it, and run it."""
    name = BATCH_PROCESSOR if program == COMMAND else "python"
    print(f"$ {name} {shlex.join(words)}", flush=True)  # noqa: T201
    code = subprocess.run([str(program), *words], cwd=CHECKOUT, check=False).returncode  # noqa: S603
    if code not in good:
        sys.exit(f"the demo stopped: that command ended with exit code {code}")


def head(path: Path, lines: int) -> None:
    """Print the first lines of a CSV, cut to the terminal."""
    with (CHECKOUT / path).open(encoding="utf-8", newline="") as file:
        for _, line in zip(range(lines), file, strict=False):
            text = line.rstrip("\r\n")
            print(text if len(text) <= 150 else text[:149] + "…")  # noqa: T201


def main() -> None:
    """Run the demo."""
    began = time.monotonic()
    (CHECKOUT / RESULTS).mkdir(parents=True, exist_ok=True)
    say("The whole application on this machine: tables, bucket, functions and state machine of template.yaml")
    show("local", "start")

    say("1. 3,708 product reviews, each through the tool `sentiment`")
    reviews, mapping = "examples/product_reviews.csv", "examples/mappings/sentiment.yaml"
    first = str(RESULTS / "reviews.csv")
    show("run", reviews, "--target", "sentiment", "--mapping", mapping, "-o", first, "--force", "--yes")

    say("2. The CSV again, from the results kept in DynamoDB: nothing is called a second time")
    again = RESULTS / "reviews-again.csv"
    show("aggregate", "last", "-o", str(again), "--force")
    head(again, 5)
    same = (CHECKOUT / first).read_bytes() == (CHECKOUT / again).read_bytes()
    print("the same, byte for byte" if same else "NOT the same as the first")  # noqa: T201
    say("How well do the categories agree with twenty people's ratings?")
    show("examples/agreement.py", str(again), program=Path(sys.executable))

    say("3. A batch in which rows fail, each in its own way")
    mixed = ("examples/mixed_fates.csv", "--target", "echo", "--mapping", "examples/mappings/mixed_fates.yaml")
    show("run", *mixed, "-o", str(RESULTS / "mixed.csv"), "--force", good=(1,))
    say("Those rows, found through the status index")
    show("failed", "last")

    say("4. Only those rows again, with a mapping that leaves out what made them fail; one CSV has everything")
    mended = "examples/mappings/mixed_fates_mended.yaml"
    show("rerun", "last", "--mapping", mended, "-o", str(RESULTS / "mixed.csv"), good=(1,))
    show("report", "last", "-o", str(RESULTS / "report.html"))

    say(f"Done in {time.monotonic() - began:.0f} s. The results are in {RESULTS}/; the embedded stack goes on running:")
    print("  .venv/bin/batch-processor batches       what has been run")  # noqa: T201
    print("  .venv/bin/batch-processor --help        what else there is")  # noqa: T201
    print("  .venv/bin/batch-processor local stop    stop it; its data are kept")  # noqa: T201


if __name__ == "__main__":
    main()
