from __future__ import annotations

import itertools

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.expressions import (
    FUNCTIONS,
    NotAnExpression,
    Scope,
    UnknownName,
    open_engine,
    quote,
    read_expression,
    read_names,
    read_predicate,
    rewrite,
)
from penstock.model.schema import Field, parse_type


@pytest.mark.parametrize(
    ("text", "type_", "sql"),
    [
        ("total_amount - discount", "decimal(11,2)", '"total_amount" - "discount"'),
        ("TOTAL_AMOUNT", "decimal(10,2)", '"total_amount"'),
        ("orders.id", "bigint", '"id"'),
        ('"order"', "text", '"order"'),
        ("Customer.SEGMENT", "text", '"customer"."Segment"'),
        ("created_at + interval '1 day'", "timestamp", "\"created_at\" + INTERVAL '1' DAY"),
        ("day - date '2024-01-01'", "bigint", "\"day\" - CAST('2024-01-01' AS DATE)"),
        ("upper(trim(status)) || '!'", "text", "UPPER(TRIM(\"status\")) || '!'"),
        ("status in ('new', 'paid') and not is_paid", "boolean", None),
        ("case when quantity > 1 then 'many' end", "text", None),
        ("cast(status as numeric)", "decimal(38,9)", 'CAST("status" AS DECIMAL(38, 9))'),
        ("status::float", "double precision", 'CAST("status" AS DOUBLE)'),
        ("- -quantity", "integer", '-(-"quantity")'),
        ("quantity // 2", "integer", '"quantity" // 2'),
        ("seen_at at time zone 'Europe/Paris'", "timestamp", None),
        ("99999999999999999999", "decimal(38,0)", "CAST(99999999999999999999 AS DECIMAL(38, 0))"),
    ],
)
def test_an_expression_is_typed_and_its_names_are_quoted(orders: Scope, text: str, type_: str, sql: str | None) -> None:
    expression = read_expression(text, orders)
    assert str(expression.type) == type_
    assert sql is None or expression.sql == sql


@pytest.mark.parametrize(
    ("text", "reason", "offset"),
    [
        ("", "empty", None),
        ("quantity; drop table orders", "`;`", 8),
        ("quantity -- all of it", "comment", 0),
        ("/* x */ quantity", "comment", 8),
        ("'open", "quote is opened", None),
        ("(quantity", "bracket is opened", 0),
        ("cast(quantity as int", "bracket is opened", 4),
        ("quantity)", "from `)` on", 8),
        ("quantity quantity", "from `quantity` on", None),
        ("quantity +", "ends too early", 9),
        ("select 1", "cannot be read", 0),
        ("(select 1)", "query", None),
        ("quantity in (select 1)", "query", None),
        ("exists (select 1)", "query", None),
        ("sum(quantity)", "many records", 0),
        ("count(*)", "many records", 0),
        ("row_number() over ()", "many records", None),
        ("random()", "same answer", 0),
        ("now()", "same answer", 0),
        ("current_date", "same answer", None),
        ("gen_random_uuid()", "same answer", 0),
        ("read_csv('/etc/passwd')", "not a function", 0),
        ("getenv('HOME')", "same answer", 0),
        ("flor(rate)", "did you mean `floor`", 0),
        ("?", "parameter", None),
        ("$1", "parameter", None),
        ("*", "not a value", None),
        ("[1, 2]", "not a function", None),
        ("{'a': 1}", "not a function", None),
        ("status ->> 'a'", "not something|not a function", None),
        ("x -> x + 1", "not something|not a function", None),
        ("try_cast(status as int)", "unseen", None),
        ("cast(status as varchar(3))", "does not cut", None),
        ("cast(status as timestamp(3))", "only decimals", None),
        ("cast(status as struct(a int))", "not a type", None),
        ("cast(status as bigit)", "did you mean `bigint`", None),
        ("quantity = 1 = is_paid", "one comparison inside another", None),
        ("quantity between symmetric 3 and 1", "symmetric", None),
        ("status = 5", "compares varchar with integer", None),
        ("status > 5", "explicit cast", 0),
        ("is_paid = quantity", "compares boolean with integer", 10),
        ("id > 'abc'", "abc", 5),
        ("id in (1, 'x')", "x", 10),
        ("status + 1", "there is no", 0),
        ("quantity and is_paid", "is integer, not true or false", 0),
        ("created_at - created_at", "interval", None),
        ("null", "no type", None),
        ("interval '1' fortnight", "unit of time", None),
        ("date_trunc(status, day)", "unit of time", None),
        ("seen_at at time zone 'Nowhere/Else'", "no time zone", None),
        ("seen_at at time zone status", "plain value", None),
        ("lpad(status, 100000, 'x')", "filling up", None),
        ("lpad(status, quantity, 'x')", "plain value", None),
        ("regexp_matches(status, '(')", "missing", None),
        ("rate // 2", "whole numbers only", 0),
        ("status collate nocase", "not a function", None),
        ("quantity & 3", "not something", None),
        ("1" * 39, "more than 38 digits", 0),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason_and_a_place(
    orders: Scope, text: str, reason: str, offset: int | None
) -> None:
    with pytest.raises(NotAnExpression) as refused:
        read_expression(text, orders)
    said = f"{refused.value}; {refused.value.remedy}"
    assert any(part in said for part in reason.split("|")), said
    assert offset is None or refused.value.offset == offset


@pytest.mark.parametrize(
    ("text", "nearest", "offset"),
    [
        ("1 + totl_amount", "did you mean `total_amount`?", 4),
        ("segment", "did you mean `customer.Segment`?", 0),
        ("customer.nam", "did you mean `customer.name`?", 0),
        ("custmer.name", "did you mean `customer`?", 0),
        ("zzz", "there is `id`", 0),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(orders: Scope, text: str, nearest: str, offset: int) -> None:
    with pytest.raises(UnknownName) as refused:
        read_expression(text, orders)
    assert nearest in refused.value.remedy
    assert refused.value.offset == offset


def test_limits_hold_before_anything_recurses(orders: Scope) -> None:
    with pytest.raises(NotAnExpression, match="nested too deeply"):
        read_expression("(" * 4_000 + "1" + ")" * 4_000, orders)
    with pytest.raises(NotAnExpression, match="nested too deeply"):
        read_expression("not " * 2_000 + "is_paid", orders)
    with pytest.raises(NotAnExpression, match="nested too deeply"):
        read_expression(" + ".join(["id"] * 1_000), orders)
    with pytest.raises(NotAnExpression, match="10,001 characters"):
        read_expression("x" * 10_001, orders)


def test_a_list_of_values_may_be_long(orders: Scope) -> None:
    codes = ", ".join(str(code) for code in range(1_500))
    assert read_predicate(f"id in ({codes})", orders).columns == ("id",)


def test_an_expression_tells_what_it_reads_in_order_of_appearance(orders: Scope) -> None:
    expression = read_expression("status || customer.name || name || status", orders)
    assert expression.columns == ("status", "name")
    assert expression.looked_up == (("customer", "name"),)
    assert not expression.is_column
    assert read_expression("orders.STATUS", orders).is_column


def test_a_lookups_column_and_the_records_own_of_the_same_name_never_meet(orders: Scope) -> None:
    assert read_expression("name = customer.name", orders).sql == '"name" = "customer"."name"'


def test_what_is_wanted_is_cast_to_and_refused_where_no_cast_means_anything(orders: Scope) -> None:
    assert read_expression("status", orders, parse_type("bigint")).sql == 'CAST("status" AS BIGINT)'
    assert read_expression("null", orders, parse_type("date")).sql == "CAST(NULL AS DATE)"
    assert read_expression("status", orders, parse_type("varchar(9)")).sql == '"status"'
    with pytest.raises(NotAnExpression, match="cannot be made boolean"):
        read_expression("created_at", orders, parse_type("boolean"))


def test_a_constant_that_can_never_be_the_type_is_refused_before_any_record_is(orders: Scope) -> None:
    with pytest.raises(NotAnExpression, match="can never be computed"):
        read_expression("'abc'", orders, parse_type("bigint"))
    with pytest.raises(NotAnExpression, match="ivision by zero"):
        read_expression("5 // 0", orders)


def test_a_product_with_more_places_than_there_are_digits_is_refused() -> None:
    tiny = parse_type("numeric(38,30)")
    with pytest.raises(NotAnExpression):
        read_expression("a * b", Scope((Field("a", tiny), Field("b", tiny))))


def test_a_predicate_must_be_true_or_false(orders: Scope) -> None:
    assert read_predicate("total_amount >= 0", orders).columns == ("total_amount",)
    with pytest.raises(NotAnExpression, match="not true or false"):
        read_predicate("total_amount", orders)


def test_names_are_rewritten_and_looked_up_ones_stay(orders: Scope) -> None:
    sql = read_expression("name || customer.name || status", orders).sql
    assert rewrite(sql, {"name": "title", "status": 'odd"one'}) == '("title" || "customer"."name") || "odd""one"'


def test_exact_division_survives_being_rewritten(orders: Scope) -> None:
    expression = read_expression("total_amount / quantity", orders, parse_type("numeric(10,2)"))
    renamed = rewrite(expression.sql, {"quantity": "pieces"})
    assert renamed == expression.sql.replace('"quantity"', '"pieces"')
    assert rewrite(renamed, {"pieces": "quantity"}) == expression.sql


def test_names_are_found_in_aggregates_which_nothing_else_may_hold() -> None:
    assert read_names("COUNT(*) / COUNT(DISTINCT customer_id) + SUM(total)") == ("customer_id", "total")
    with pytest.raises(NotAnExpression):
        read_names("SUM(")


@given(text=st.text(max_size=60) | st.text(alphabet="abi()'\",;-+*/<>=.:$?[]{}%~ \n1etlsnoru", max_size=60))
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    scope = Scope((Field("a", parse_type("bigint")), Field("b", parse_type("text"))))
    try:
        expression, refused = read_expression(text, scope), None
    except NotAnExpression as why:
        expression, refused = None, why
    if refused is not None:
        assert refused.message
        assert refused.remedy
        assert refused.offset is None or 0 <= refused.offset <= len(text)
    if expression is not None:
        assert "INT128" in expression.sql or read_expression(expression.sql, scope).type == expression.type


OPERATORS = ("+", "-", "*", "%", "//", "||", "=", "<>", "<", "and", "or", "is distinct from", "like")
"""Everything that stands between two operands; `/` is left out because it means something else here."""


def test_operators_bind_as_they_do_in_duckdb() -> None:
    engine, scope = open_engine(64 << 20, threads=1), Scope(())
    compared = 0
    for first, second in itertools.product(OPERATORS, OPERATORS):
        for values in (("2", "-3", "7"), ("'2'", "'3'", "'23'"), ("true", "false", "true")):
            for before in ("", "- ", "not "):
                text = f"{before}{values[0]} {first} {values[1]} {second} {values[2]}"
                try:
                    wanted = engine.sql(f"SELECT {text}").fetchall()
                    read = read_expression(text, scope)
                except (duckdb.Error, NotAnExpression):
                    continue
                assert engine.sql(f"SELECT {read.sql}").fetchall() == wanted, text
                compared += 1
    assert compared > 200


def test_every_function_of_the_table_can_be_called(orders: Scope) -> None:
    arguments = {
        "text": "status", "old": "'a'", "new": "'b'", "separator": "'-'", "number": "quantity", "places": "1",
        "start": "1", "count": "2", "fill": "'0'", "part": "'a'", "beginning": "'a'", "pattern": "'a+'",
        "a": "quantity", "b": "id", "...": "3", "exponent": "2", "condition": "is_paid", "time": "created_at",
        "format": "'%Y'", "year": "2024", "month": "quantity", "day": "1",
    }  # fmt: skip
    for function in FUNCTIONS:
        for call in function.call.split("), "):
            text = call if call.endswith(("'", ")")) else f"{call})"
            inside = text.partition("(")[2]
            if inside and " from " not in inside and " in " not in inside:
                names = [argument.strip() for argument in inside.rstrip(")").split(",")]
                text = f"{text.partition('(')[0]}({', '.join(arguments.get(name, name) for name in names)})"
            else:
                text = text.replace("time)", "created_at)").replace("part in text", "'a' in status")
                text = text.replace("time at", "created_at at")
            assert read_expression(text, orders).sql, text


def test_a_wide_record_is_bound_in_one_go() -> None:
    scope = Scope(tuple(Field(f"column {n}", parse_type("numeric(18,4)")) for n in range(500)))
    assert read_expression(f"{quote('column 0')} + {quote('COLUMN 499')}", scope).columns == ("column 0", "column 499")
