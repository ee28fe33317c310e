"""A rehearsal whose ledger does not wait for the disk: what a check of durability must be able to catch."""

from __future__ import annotations

import sqlite3
import sys
from functools import partial
from typing import Any
from unittest import mock

from penstock.testing import rehearse


class Careless(sqlite3.Connection):
    """Turns every wish for synchronous writing into its opposite."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as the overridden method has it
        return super().execute("PRAGMA synchronous = OFF" if "synchronous" in sql else sql, *parameters)


if __name__ == "__main__":
    with mock.patch("sqlite3.connect", partial(sqlite3.connect, factory=Careless)):
        sys.exit(rehearse.main())
