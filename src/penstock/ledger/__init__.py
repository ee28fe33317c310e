"""The ledger: positions, counts, dead letters, replays and evidence, in one SQLite file per project.

`docs/ledger.md` explains its tables; they are meant to be read with SQL.
"""

from penstock.ledger.book import RunBook
from penstock.ledger.dead_letters import TABLE_SCHEMA, DeadLetterFilter, ErrorCount, LetterCount, LetterStatus
from penstock.ledger.evidence import RequirementResult, Result
from penstock.ledger.folder import STATE_FOLDER
from penstock.ledger.ledger import Ledger
from penstock.ledger.lock import hold
from penstock.ledger.masking import mask
from penstock.ledger.replays import Replay, ReplayItem
from penstock.ledger.rewinding import Rewound
from penstock.ledger.runs import Run, RunStatus
from penstock.ledger.settlements import Totals

__all__ = [
    "STATE_FOLDER",
    "TABLE_SCHEMA",
    "DeadLetterFilter",
    "ErrorCount",
    "Ledger",
    "LetterCount",
    "LetterStatus",
    "Replay",
    "ReplayItem",
    "RequirementResult",
    "Result",
    "Rewound",
    "Run",
    "RunBook",
    "RunStatus",
    "Totals",
    "hold",
    "mask",
]
