"""Turns the flags of records that are not delivered into errors that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from penstock.model.outcome import RecordError, cited
from penstock.transformation.compile import SCORE, flag_column, shown_column
from penstock.transformation.problems import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from penstock.transformation.compile import Plan
    from penstock.transformation.problems import Problem, Shown


def errors_of(plan: Plan, explained: pa.Table) -> list[tuple[RecordError, ...]]:
    """Return, for each row of the plan's `explain` query, its errors: those of the first step at which it has any."""
    actual = _Actual(plan.shown, explained)
    errors: list[list[RecordError]] = [[] for _ in range(explained.num_rows)]
    steps: list[Step | None] = [None] * explained.num_rows
    for number, problem in enumerate(plan.problems):
        flags = pc.fill_null(explained.column(flag_column(number)).combine_chunks(), fill_value=False)
        for record in pc.indices_nonzero(flags).to_pylist():
            if steps[record] in {None, problem.step}:
                steps[record] = problem.step
                errors[record].append(actual.error(problem, record))
    assert all(errors), "a record was refused for no reason"
    return [tuple(found) for found in errors]


class _Actual:
    """The values that errors cite, by record."""

    def __init__(self, shown: Sequence[Shown], explained: pa.Table) -> None:
        self._texts: dict[Shown, list[str | None]] = {
            value: explained.column(shown_column(number)).to_pylist() for number, value in enumerate(shown)
        }
        self._scores: list[float] = explained.column(SCORE).to_pylist()

    def error(self, problem: Problem, record: int) -> RecordError:
        actual = cited(self._values(problem, record))
        return RecordError(problem.code, problem.field, problem.message, problem.expected, actual)

    def _values(self, problem: Problem, record: int) -> str | None:
        if problem.step is Step.SCORE:
            return f"{self._scores[record]:g}"
        values = {str(value.name): self._texts[value][record] for value in problem.shows}
        if list(values) == [problem.field]:
            return values[problem.field]
        return ", ".join(f"{name} = {cited(text)}" for name, text in values.items())
