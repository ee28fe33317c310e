"""Ask a DuckDB file questions, as another program would: `python ask.py FILE SQL…` prints the rows of each as JSON.

Numbers beyond int and float, and times, are printed as text.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing

import duckdb


def main(file: str, *questions: str) -> None:
    with closing(duckdb.connect(file, read_only=True)) as connection:
        answers = [connection.execute(question).fetchall() for question in questions]
    sys.stdout.write(json.dumps(answers, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
