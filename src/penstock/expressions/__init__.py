"""SQL as documents write it: read, checked, typed, and turned into SQL that every stage may run.

Nothing here knows of documents or pipelines. What cannot be used is refused with `NotAnExpression`, which says why,
what to do, and where in the text.
"""

from penstock.expressions.datatypes import TIMES, is_castable
from penstock.expressions.engine import Engine, open_engine
from penstock.expressions.functions import FUNCTIONS
from penstock.expressions.mistake import NotAnExpression, UnknownName, did_you_mean
from penstock.expressions.names import is_reserved, literal, quote
from penstock.expressions.reading import Expression, read_expression, read_names, read_predicate, rewrite
from penstock.expressions.rules import RuleText, read_columns, read_rule
from penstock.expressions.scope import Scope
from penstock.expressions.values import read_value

__all__ = [
    "FUNCTIONS",
    "TIMES",
    "Engine",
    "Expression",
    "NotAnExpression",
    "RuleText",
    "Scope",
    "UnknownName",
    "did_you_mean",
    "is_castable",
    "is_reserved",
    "literal",
    "open_engine",
    "quote",
    "read_columns",
    "read_expression",
    "read_names",
    "read_predicate",
    "read_rule",
    "read_value",
    "rewrite",
]
