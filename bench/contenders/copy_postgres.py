"""psql's copy: out of PostgreSQL into a CSV file, or on into another table. Nothing is checked on the way.

    python copy_postgres.py SOURCE_URL DESTINATION

DESTINATION is the URL of a database, or a file to make.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

OUT = r"\copy orders to stdout with (format csv)"
IN = r"\copy bench.orders from stdin with (format csv)"
TABLE = """
CREATE SCHEMA bench;
CREATE TABLE bench.orders (
    o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, o_totalprice numeric(15,2), o_orderdate date,
    o_orderpriority text, o_clerk text, o_shippriority integer, o_comment text
);
"""


def main(source: str, destination: str) -> None:
    """Copy, then say how long it took."""
    started = time.perf_counter()
    if destination.startswith("postgresql://"):
        subprocess.run(["psql", "--quiet", destination, "-c", TABLE], check=True)  # noqa: S603, S607 - ours, from the PATH
        with subprocess.Popen(["psql", source, "-c", OUT], stdout=subprocess.PIPE) as reading:  # noqa: S603, S607
            subprocess.run(  # noqa: S603
                ["psql", "--quiet", destination, "-c", IN],  # noqa: S607
                stdin=reading.stdout, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        assert reading.wait() == 0
    else:
        with Path(destination).open("wb") as file:
            subprocess.run(["psql", source, "-c", OUT], check=True, stdout=file)  # noqa: S603, S607
    print(json.dumps({"seconds_inside": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
