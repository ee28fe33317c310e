"""What expressions are made of: operators, functions, units. What is not listed here is refused.

A function is listed when the same record always gives the same answer (a replay must not differ), and when DuckDB,
PostgreSQL and Flink can all express it. `docs/rules.md` shows this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Mapping

Node: TypeAlias = type[exp.Expr]


@dataclass(frozen=True, slots=True)
class Function:
    """A function: how it is called, what it gives, and the sqlglot node that stands for it.

    `arguments` are the node's arguments that may be given; those in `constants` must be written as literals.
    """

    name: str
    call: str
    gives: str
    node: Node
    arguments: tuple[str, ...]
    constants: tuple[str, ...] = ()


_ONE = ("this",)
_TWO = ("this", "expression")
_MANY = ("this", "expressions")

FUNCTIONS: tuple[Function, ...] = (
    # Text.
    Function("upper", "upper(text)", "the text in upper case", exp.Upper, _ONE),
    Function("lower", "lower(text)", "the text in lower case", exp.Lower, _ONE),
    Function(
        "trim",
        "trim(text), ltrim(text), rtrim(text)",
        "the text without blanks around it, or without the characters given second",
        exp.Trim,
        (*_TWO, "position"),
    ),
    Function("length", "length(text)", "how many characters it has", exp.Length, _ONE),
    Function("left", "left(text, count)", "its first characters", exp.Left, _TWO),
    Function("right", "right(text, count)", "its last characters", exp.Right, _TWO),
    Function(
        "substring",
        "substring(text, start, count)",
        "characters from `start` (1-based)",
        exp.Substring,
        ("this", "start", "length"),
    ),
    Function(
        "replace", "replace(text, old, new)", "the text with every `old` replaced", exp.Replace, (*_TWO, "replacement")
    ),
    Function(
        "split_part",
        "split_part(text, separator, number)",
        "the part of that number (1-based), empty where there is none",
        exp.SplitPart,
        ("this", "delimiter", "part_index"),
    ),
    Function(
        "strpos",
        "strpos(text, part), position(part in text)",
        "where `part` begins (1-based), 0 where it does not occur",
        exp.StrPosition,
        ("this", "substr"),
    ),
    Function(
        "lpad",
        "lpad(text, count, fill), rpad(text, count, fill)",
        "the text filled up, or cut, to exactly `count` characters, a number up to 1000",
        exp.Pad,
        (*_TWO, "fill_pattern", "is_left"),
        ("expression",),
    ),
    Function("starts_with", "starts_with(text, beginning)", "whether it begins so", exp.StartsWith, _TWO),
    Function(
        "concat", "concat(a, b, ...)", "all of them in a row; nulls are skipped (`a || b` gives null instead)",
        exp.Concat, ("expressions", "safe", "coalesce"),
    ),
    Function(
        "regexp_matches", "regexp_matches(text, pattern)", "whether the regular expression occurs in it",
        exp.RegexpLike, _TWO, ("expression",),
    ),
    Function("md5", "md5(text)", "its MD5 digest, in hexadecimal digits", exp.MD5, _ONE),
    Function("sha256", "sha256(text)", "its SHA-256 digest, in hexadecimal digits", exp.SHA2, (*_ONE, "length")),
    # Numbers.
    Function("abs", "abs(number)", "the number without its sign", exp.Abs, _ONE),
    Function("sign", "sign(number)", "-1, 0 or 1", exp.Sign, _ONE),
    Function(
        "round", "round(number, places)", "the number rounded, halves away from zero", exp.Round,
        ("this", "decimals"), ("decimals",),
    ),
    Function("floor", "floor(number)", "the next whole number at or below", exp.Floor, _ONE),
    Function("ceil", "ceil(number)", "the next whole number at or above", exp.Ceil, _ONE),
    Function("power", "power(number, exponent)", "a power, as double", exp.Pow, _TWO),
    Function("sqrt", "sqrt(number)", "the square root, as double", exp.Sqrt, _ONE),
    Function("ln", "ln(number)", "the natural logarithm, as double", exp.Ln, _ONE),
    Function("exp", "exp(number)", "e to that power, as double", exp.Exp, _ONE),
    # Choice.
    Function("coalesce", "coalesce(a, b, ...)", "the first that is not null", exp.Coalesce, _MANY),
    Function("nullif", "nullif(a, b)", "null where both are equal, else `a`", exp.Nullif, _TWO),
    Function("if", "if(condition, a, b)", "`a` where the condition is true, else `b`", exp.If,
             ("this", "true", "false")),
    Function("greatest", "greatest(a, b, ...)", "the largest; nulls are skipped", exp.Greatest,
             (*_MANY, "ignore_nulls")),
    Function("least", "least(a, b, ...)", "the smallest; nulls are skipped", exp.Least, (*_MANY, "ignore_nulls")),
    # Time.
    Function("date_trunc", "date_trunc('day', time)", "the beginning of its day, or of another unit",
             exp.TimestampTrunc, ("this", "unit")),
    Function("extract", "extract(year from time)", "that part of it, as a number", exp.Extract, _TWO),
    Function("year", "year(time)", "its year", exp.Year, _ONE),
    Function("quarter", "quarter(time)", "its quarter, 1 to 4", exp.Quarter, _ONE),
    Function("month", "month(time)", "its month, 1 to 12", exp.Month, _ONE),
    Function("week", "week(time)", "its ISO week, 1 to 53", exp.Week, _ONE),
    Function("day", "day(time)", "its day of the month", exp.Day, _ONE),
    Function("hour", "hour(time)", "its hour", exp.Hour, _ONE),
    Function("minute", "minute(time)", "its minute", exp.Minute, _ONE),
    Function("second", "second(time)", "its second, without fraction", exp.Second, _ONE),
    Function("make_date", "make_date(year, month, day)", "that date", exp.DateFromParts, ("year", "month", "day")),
    Function("strptime", "strptime(text, format)", "the time that the text says, read by a format such as '%d.%m.%Y'",
             exp.StrToTime, ("this", "format"), ("format",)),
    Function("strftime", "strftime(time, format)", "the time as text", exp.TimeToStr, ("this", "format"), ("format",)),
    Function("at time zone", "time at time zone 'Europe/Paris'", "the moment as the clocks there show it, or back",
             exp.AtTimeZone, ("this", "zone"), ("zone",)),
)  # fmt: skip

BY_NODE: Mapping[Node, Function] = MappingProxyType({function.node: function for function in FUNCTIONS})

COMPARISONS: tuple[Node, ...] = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ,
    exp.Is, exp.In, exp.Between, exp.Like, exp.ILike, exp.Escape,
)  # fmt: skip
LOGIC: tuple[Node, ...] = (exp.And, exp.Or, exp.Not)
ARITHMETIC: tuple[Node, ...] = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe)
OPERATORS: tuple[Node, ...] = (*COMPARISONS, *LOGIC, *ARITHMETIC)
PLAIN: frozenset[Node] = frozenset(
    {
        *OPERATORS, exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren,
        exp.Case, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var,
    }
)  # fmt: skip

UNITS: frozenset[str] = frozenset({"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"})
"""Units of `date_trunc` and of intervals."""
FIELDS: frozenset[str] = UNITS | {"ISODOW", "DOY", "EPOCH"}
"""What `extract` takes out of a time."""

VOLATILE: frozenset[str] = frozenset(
    {
        "random", "rand", "setseed", "now", "today", "getdate", "sysdate", "current_date", "current_time",
        "current_timestamp", "localtime", "localtimestamp", "current_localtime", "current_localtimestamp",
        "transaction_timestamp", "statement_timestamp", "clock_timestamp", "timeofday", "age", "uuid", "uuidv4",
        "uuidv7", "gen_random_uuid", "generate_uuid", "nextval", "currval", "txid_current", "current_user",
        "session_user", "pg_sleep", "error", "getenv",
    }
)  # fmt: skip
"""Functions whose answer is not in the record: named apart, so that the refusal can say why."""
