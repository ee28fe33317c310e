"""Penstock with hand-offs of 10,000 records in place of the specification's 1,000 and 500: a bulk load's setting.

python penstock_large_batches.py ORDERS.csv OUT.duckdb
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.environ |= {"ALPHA_BETA_BATCH_SIZE": "10000", "BETA_GAMMA_BATCH_SIZE": "10000"}
    runpy.run_path(str(Path(__file__).with_name("penstock_run.py")), run_name="__main__")
