"""Penstock: a hand-off document becomes a running pipeline in which every record is accounted for.

import penstock

project = penstock.load("examples/flights")
result = project.run()
print(result.status, result.read)
letters = project.dead_letters()  # an Arrow table
"""

from penstock.errors import PenstockError
from penstock.ledger import DeadLetterFilter
from penstock.model.finding import Finding
from penstock.model.pipeline import Pipeline
from penstock.orchestration.control import Control
from penstock.orchestration.plan import Resolution
from penstock.orchestration.result import RunResult, Status
from penstock.project import Project, load

__all__ = [
    "Control",
    "DeadLetterFilter",
    "Finding",
    "PenstockError",
    "Pipeline",
    "Project",
    "Resolution",
    "RunResult",
    "Status",
    "load",
]
