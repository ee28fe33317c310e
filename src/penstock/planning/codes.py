"""Every finding that planning can give: the one table that `docs/planning.md` is drawn from."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from penstock.model.finding import FindingKind, Level

if TYPE_CHECKING:
    from collections.abc import Mapping

_E, _Q = Level.ERROR, Level.OPEN_QUESTION

# Documents that do not fit together.
DISAGREEMENT: Final = FindingKind("PLAN_001", _E, "two blocks say different things", "let them agree, or leave one out")
DESCRIBED_TWICE: Final = FindingKind("PLAN_002", _E, "a table is described twice", "keep one of the two")
UNUSED_CONNECTION: Final = FindingKind(
    "PLAN_003", _E, "no table and no warehouse uses this connection", "name it in `database` or `warehouse`"
)
WRONG_CONNECTION: Final = FindingKind("PLAN_004", _E, "connection cannot be used for this", "name another kind")
NOT_A_NAME: Final = FindingKind("PLAN_005", _E, "text cannot name a pipeline", "give one with `pipeline:`")
PLAIN_SECRET: Final = FindingKind(
    "PLAN_006", _E, "secret stands in the document", "put `${NAME}` in its place and set NAME in the environment"
)
# Names.
RESERVED: Final = FindingKind("PLAN_010", _E, "name begins with `_`", "names that begin so are Penstock's own")
COLUMN_TWICE: Final = FindingKind("PLAN_011", _E, "two columns differ at most in case", "rename or remove one")
UNKNOWN_COLUMN: Final = FindingKind("PLAN_012", _E, "column is not there", "describe it, or name another")
UNKNOWN_TABLE: Final = FindingKind("PLAN_013", _E, "source table is not described", "describe it in `source_models`")
UNKNOWN_MODEL: Final = FindingKind("PLAN_014", _E, "model is not described", "name one of `models`")
UNKNOWN_SOURCE: Final = FindingKind("PLAN_015", _E, "no telling which source feeds the model", "say `source:`")
# Expressions and types.
NOT_AN_EXPRESSION: Final = FindingKind("PLAN_020", _E, "expression cannot be used", "see docs/rules.md")
NOT_A_CONVERSION: Final = FindingKind("PLAN_021", _E, "type cannot become the other", "declare another type")
NOT_A_TIME: Final = FindingKind("PLAN_022", _E, "column holds no date or time", "name one that does")
NOT_A_VALUE: Final = FindingKind("PLAN_023", _E, "value is not of the column's type", "write one of its type")
NOT_MASKABLE: Final = FindingKind("PLAN_024", _E, "column cannot be masked so", "mask it otherwise, or not")
# Models.
NO_KEY: Final = FindingKind("PLAN_030", _E, "no telling how to find the looked-up row", "say `on:` and `key:`")
LOOKUP_NAME: Final = FindingKind("PLAN_031", _E, "lookup is called like something else", "give it another `name:`")
NO_GRAIN: Final = FindingKind("PLAN_032", _E, "merging needs to know what a row is", "say `grain:`")
NO_EFFECT: Final = FindingKind("PLAN_033", _E, "key has no effect here", "take it out")
CANNOT_MERGE: Final = FindingKind(
    "PLAN_034", _E, "warehouse cannot merge", "append, and take the newest row of each key when reading"
)
# Rules.
NOT_A_RULE: Final = FindingKind("PLAN_040", _E, "rule is not understood", "see docs/rules.md")
NOBODY_HAS_IT: Final = FindingKind("PLAN_041", _E, "no model has what the rule names", "add the column to a model")
NOT_AT_DESTINATION: Final = FindingKind(
    "PLAN_042", _E, "rule needs a column at the destination", "add the column to the model"
)
# What is open.
NOTHING_TO_READ: Final = FindingKind("PLAN_101", _Q, "no source is described", "add a SCHEMA_TO_STREAM document")
NOTHING_TO_DELIVER: Final = FindingKind(
    "PLAN_102", _Q, "no model is asked for", "list `models` under `destination_requirements`"
)
FEEDS_NOTHING: Final = FindingKind(
    "PLAN_103", _Q, "source feeds no model, so it is not read", "make a model of it, or take it out"
)
NO_SUCH_REFERENCE: Final = FindingKind(
    "PLAN_104", _Q, "foreign key leads to something no document describes, so it is not checked",
    "describe the table and its column",
)  # fmt: skip
NOTHING_TO_SCORE: Final = FindingKind("PLAN_105", _Q, "no rule lowers the score", "write a rule for the model")
PARTITIONING: Final = FindingKind(
    "PLAN_110", _Q, "partitioning is carried, not applied yet", "lay the table out by hand where it matters"
)
CLUSTERING: Final = FindingKind(
    "PLAN_111", _Q, "clustering is carried, not applied yet", "sort the table by hand where it matters"
)
RETENTION: Final = FindingKind(
    "PLAN_112", _Q, "retention is carried, not applied yet: nothing is deleted", "delete by hand until it is"
)
DEADLINE: Final = FindingKind(
    "PLAN_113", _Q, "time of day is carried, not watched yet", "start runs early enough by other means"
)
FREQUENCY: Final = FindingKind("PLAN_114", _Q, "frequency is carried, not kept yet", "start runs by other means")
POLICY: Final = FindingKind(
    "PLAN_116", _Q, "schema policy is carried, not applied yet: other columns are left alone", "watch for new columns"
)
UNIT_TESTS: Final = FindingKind("PLAN_117", _Q, "tests are carried, not run yet", "try the records with --sample")
METRICS: Final = FindingKind("PLAN_120", _Q, "metrics are carried, not computed yet", "query the delivered tables")
METRIC_COLUMN: Final = FindingKind(
    "PLAN_121", _Q, "metric needs a column that nothing has", "which table holds it? describe it"
)
METRIC_SQL: Final = FindingKind("PLAN_122", _Q, "aggregation cannot be read", "write SQL such as `SUM(total_amount)`")
DATA_SOURCE: Final = FindingKind("PLAN_123", _Q, "data source is not described", "describe it in `source_models`")
API: Final = FindingKind("PLAN_130", _Q, "API is not read until what it needs is known", "answer what is open about it")
API_AUTH: Final = FindingKind(
    "PLAN_131", _Q, "document leaves open how to sign in", "where do the credentials come from?"
)
API_PAGES: Final = FindingKind("PLAN_132", _Q, "document leaves open how to turn pages", "which field leads on?")
API_FIELD: Final = FindingKind("PLAN_133", _Q, "no field of the contract is called so", "add it to `data_contract`")
API_MODEL: Final = FindingKind("PLAN_134", _Q, "document leaves open where records go", "which model do they feed?")
API_CONTRACT: Final = FindingKind(
    "PLAN_135", _Q, "document leaves open what a record holds", "describe it in `data_contract`"
)
API_SINCE: Final = FindingKind(
    "PLAN_136", _Q, "document leaves open how to ask for what is new", "say `since_parameter`"
)
API_KEY: Final = FindingKind(
    "PLAN_137",
    _Q,
    "records that an API gives again are added again",
    "mark a `primary_key` in `data_contract`, and merge",
)

KINDS: Mapping[str, FindingKind] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            DISAGREEMENT, DESCRIBED_TWICE, UNUSED_CONNECTION, WRONG_CONNECTION, NOT_A_NAME, PLAIN_SECRET,
            RESERVED, COLUMN_TWICE, UNKNOWN_COLUMN, UNKNOWN_TABLE, UNKNOWN_MODEL, UNKNOWN_SOURCE,
            NOT_AN_EXPRESSION, NOT_A_CONVERSION, NOT_A_TIME, NOT_A_VALUE, NOT_MASKABLE,
            NO_KEY, LOOKUP_NAME, NO_GRAIN, NO_EFFECT, CANNOT_MERGE, NOT_A_RULE, NOBODY_HAS_IT, NOT_AT_DESTINATION,
            NOTHING_TO_READ, NOTHING_TO_DELIVER, FEEDS_NOTHING, NO_SUCH_REFERENCE, NOTHING_TO_SCORE,
            PARTITIONING, CLUSTERING, RETENTION, DEADLINE, FREQUENCY, POLICY, UNIT_TESTS,
            METRICS, METRIC_COLUMN, METRIC_SQL, DATA_SOURCE, API, API_AUTH, API_PAGES, API_FIELD, API_MODEL,
            API_CONTRACT, API_SINCE, API_KEY,
        )
    }
)  # fmt: skip
"""The codes by name. Those from PLAN_101 on are open questions."""

ABOUT_WHAT_IS_MISSING: frozenset[str] = frozenset(
    kind.code
    for kind in (
        UNUSED_CONNECTION, UNKNOWN_TABLE, UNKNOWN_MODEL, UNKNOWN_SOURCE, NOBODY_HAS_IT,
        NOTHING_TO_READ, NOTHING_TO_DELIVER, FEEDS_NOTHING, NO_SUCH_REFERENCE, NOTHING_TO_SCORE,
        METRIC_COLUMN, DATA_SOURCE,
    )
)  # fmt: skip
"""Not said while documents have errors of their own: what is missing may well stand there."""
