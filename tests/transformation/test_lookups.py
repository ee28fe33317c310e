"""Lookups: loaded once, unambiguous, and joined without losing a record or its place."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

from penstock.caching.memory import MemoryCache
from penstock.connectors import open_source
from penstock.errors import UserMistake
from penstock.ingestion.validation import Validator
from penstock.model.pipeline import Filter, Lookup
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.transformation.lookups import Lookups, load_lookup

Bench = Any  # the fixture's class; test folders are not packages

COUNTRIES = {"iso": "varchar(2)", "name": "text", "population": "bigint"}
NAME, POPULATION = Field("name", parse_type("text")), Field("population", parse_type("bigint"))


def country(**rest: Any) -> Lookup:  # noqa: ANN401 - whatever a lookup takes
    given: dict[str, Any] = {"on": ('"country"',), "key": ("iso",), "columns": (NAME, POPULATION), **rest}
    return Lookup("country_of", "countries", **given)


@pytest.fixture
def atlas(bench: Bench) -> Bench:
    bench.reference("countries", COUNTRIES, "DE,Germany,84", "FR,France,", "IT,Italy,59")
    return bench


def enriched(atlas: Bench, lookup: Lookup, **rest: Any) -> Any:  # noqa: ANN401 - the bench's model
    return atlas.model(
        atlas.column("nation", '"country_of"."name"', "text"),
        atlas.column("people", '"country_of"."population" * 1000000', "bigint"),
        lookups=(lookup,),
        **rest,
    )


def found(rows: pa.Table) -> list[tuple[object, ...]]:
    return [(row["_sequence"], row["nation"], row["people"]) for row in rows.to_pylist()]


def test_a_match_gives_its_columns_nulls_included(atlas: Bench) -> None:
    result = atlas.transform(enriched(atlas, country()), {"country": "DE"}, {"country": "FR"})
    assert found(result.rows) == [(0, "Germany", 84000000), (1, "France", None)]


def test_without_a_match_a_required_lookup_fails_the_record(atlas: Bench) -> None:
    result = atlas.transform(enriched(atlas, country()), {"country": "XX"}, {"country": None}, {"country": "IT"})
    assert [row[0] for row in found(result.rows)] == [2]
    assert [(error.code, error.field, error.expected, error.actual) for error in result.errors[0]] == [
        ("INT_BETA_003", "country_of", "a row of countries with this iso", "country = XX"),
    ]
    assert result.errors[1][0].actual == "country = null"


def test_defaults_stand_in_where_nothing_matches_and_nowhere_else(atlas: Bench) -> None:
    lookup = country(defaults={"name": "'Unknown'", "population": "CAST('0' AS BIGINT)"})
    result = atlas.transform(enriched(atlas, lookup), {"country": "XX"}, {"country": "FR"}, {"country": None})
    assert found(result.rows) == [(0, "Unknown", 0), (1, "France", None), (2, "Unknown", 0)]
    assert result.errors == {}


def test_a_column_without_default_is_null_where_the_lookup_is_not_required(atlas: Bench) -> None:
    lookup = country(defaults={"name": "'Unknown'"}, required=False)
    result = atlas.transform(enriched(atlas, lookup), {"country": "XX"}, {"country": "DE"})
    assert found(result.rows) == [(0, "Unknown", None), (1, "Germany", 84000000)]


def test_a_required_lookup_with_defaults_for_some_columns_only_still_needs_a_match(atlas: Bench) -> None:
    result = atlas.transform(enriched(atlas, country(defaults={"name": "'Unknown'"})), {"country": "XX"})
    assert [error.code for error in result.errors[0]] == ["INT_BETA_003"]


def test_a_missing_match_comes_before_a_filter_and_a_filter_may_use_a_match(atlas: Bench) -> None:
    filters = (Filter("small", 'coalesce("country_of"."population", 0) < 60', atlas.orders.place),)
    model = enriched(atlas, country(), filters=filters)
    result = atlas.transform(model, {"country": "XX"}, {"country": "IT"}, {"country": "DE"}, {"country": "FR"})
    assert (list(result.errors), list(result.filtered["small"])) == ([0], [1, 3])
    assert found(result.rows) == [(2, "Germany", 84000000)]


def test_a_looked_up_column_may_be_called_like_one_of_the_source(bench: Bench) -> None:
    bench.reference("shops", {"id": "bigint", "status": "text", "total": "bigint"}, "1,open,5", "2,shut,6")
    columns = (Field("status", parse_type("text")), Field("id", parse_type("bigint")))
    lookup = Lookup("shop", "shops", ('"id" + 1',), ("id",), columns)
    model = bench.model(
        bench.column("shop_status", '"shop"."status" || "status"', "text"),
        bench.column("shop_id", '"shop"."id"', "bigint"),
        bench.column("shop", '"status"', "text"),
        lookups=(lookup,),
    )
    rows = bench.transform(model, {"status": "!"}, {"status": "?"}).rows
    assert rows.select(["id", "shop_status", "shop_id", "shop"]).to_pylist() == [
        {"id": 0, "shop_status": "open!", "shop_id": 1, "shop": "!"},
        {"id": 1, "shop_status": "shut?", "shop_id": 2, "shop": "?"},
    ]


def test_a_key_may_have_several_parts_and_one_lookup_may_lead_to_the_next(bench: Bench) -> None:
    bench.reference("rates", {"country": "text", "status": "text", "band": "text"}, "DE,new,a", "DE,old,b")
    bench.reference("bands", {"band": "text", "rate": "integer"}, "a,7", "b,19")
    rate = Lookup(
        "rate", "rates", ('"country"', '"status"'), ("country", "status"), (Field("band", parse_type("text")),)
    )
    band = Lookup("band", "bands", ('"rate"."band"',), ("band",), (Field("rate", parse_type("integer")),))
    model = bench.model(bench.column("percent", '"band"."rate"', "integer"), lookups=(rate, band))
    result = bench.transform(
        model,
        {"country": "DE", "status": "old"},
        {"country": "DE", "status": None},
        {"country": "DE", "status": "new"},
    )
    assert result.rows.column("percent").to_pylist() == [19, 7]
    assert [error.field for error in result.errors[1]] == ["rate", "band"]


def test_a_lookup_by_uuid_matches_however_it_is_written(bench: Bench) -> None:
    bench.reference("codes", {"code": "uuid", "name": "text"}, "6BA7B8109DAD11D180B400C04FD430C8,first")
    lookup = Lookup("code_of", "codes", ('"code"',), ("code",), (NAME,))
    model = bench.model(bench.column("made", '"code_of"."name"', "text"), lookups=(lookup,))
    rows = bench.transform(model, {"code": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}).rows
    assert rows.column("made").to_pylist() == ["first"]


def test_a_lookup_for_a_match_alone_needs_no_columns(atlas: Bench) -> None:
    result = atlas.transform(atlas.model(lookups=(country(columns=()),)), {"country": "XX"}, {"country": "DE"})
    assert (list(result.errors), result.rows.num_rows) == ([0], 1)


def test_a_key_that_cannot_be_computed_fails_its_record_alone(bench: Bench) -> None:
    bench.reference("numbers", {"number": "bigint", "name": "text"}, "1,one", "2,two")
    lookup = Lookup("number", "numbers", ('CAST("status" AS BIGINT)',), ("number",), (NAME,), {"name": "'?'"})
    model = bench.model(bench.column("made", '"number"."name"', "text"), lookups=(lookup,))
    result = bench.transform(model, {"status": "2"}, {"status": "x"}, {"status": "3"})
    assert result.rows.column("made").to_pylist() == ["two", "?"]
    assert [(error.code, error.field, error.actual) for error in result.errors[1]] == [
        ("INT_BETA_002", "number", "status = x")
    ]


@pytest.mark.parametrize("rows", [10, 3000])
def test_every_record_keeps_its_place_however_large_the_table(bench: Bench, rows: int) -> None:
    bench.reference("numbers", {"number": "bigint", "name": "text"}, *(f"{n},n{n}" for n in range(rows)))
    lookup = Lookup("number", "numbers", ('"id" * 7919 % 2000',), ("number",), (NAME,), {"name": "'none'"})
    model = bench.model(bench.column("made", '"number"."name"', "text"), lookups=(lookup,))
    result = bench.transform(model, *({} for _ in range(2000)))
    keys = [number * 7919 % 2000 for number in range(2000)]
    assert result.rows.column("id").to_pylist() == list(range(2000))
    assert result.rows.column("made").to_pylist() == [f"n{key}" if key < rows else "none" for key in keys]


def test_the_summary_tells_how_many_lookups_matched(atlas: Bench) -> None:
    transformer = atlas.transformer(enriched(atlas, country()))
    transformer.transform(atlas.rows({"country": "DE"}, {"country": "XX"}, {"country": "IT"}, {"country": "FR"}))
    summary = transformer.summary(3)
    assert (summary.total_records_transformed, summary.transformations_applied) == (3, 6)
    assert summary.enrichment_cache_hit_rate == 0.75


def test_rows_may_bring_looked_up_columns_along_instead(atlas: Bench) -> None:
    model = enriched(atlas, country(defaults={"name": "'Unknown'", "population": "0"}))
    given = [pa.field("country_of.name", pa.string()), pa.field("country_of.population", pa.int64())]
    rows = atlas.rows({"country_of.name": "Peru", "country_of.population": 34}, {}, given=given)
    result = atlas.transformer(model, loads=False).transform(rows)
    assert found(result.rows) == [(0, "Peru", 34000000), (1, "Unknown", 0)]


# Loading.


def test_loading_keeps_key_and_columns_and_counts_what_it_leaves(bench: Bench) -> None:
    bench.reference("countries", COUNTRIES, "DE,Germany,84", ",Nowhere,1", "FR,France,many", "IT,Italy,", "ES,Spain,x")
    loaded = bench.load(Lookups(MemoryCache(1 << 20), bench.settings), country(columns=(POPULATION,)))
    assert loaded is not None
    assert loaded.rows.to_pylist() == [{"iso": "DE", "population": 84}, {"iso": "IT", "population": None}]
    assert (loaded.read, loaded.without_key, dict(loaded.skipped)) == (5, 1, {"INT_ALPHA_002": 2})
    assert [(letter.sequence, letter.errors[0].actual) for letter in loaded.examples] == [(2, "many"), (4, "x")]


def test_a_table_is_loaded_once_for_all_lookups_of_the_same_columns(atlas: Bench) -> None:
    lookups = Lookups(MemoryCache(1 << 20), atlas.settings)
    assert atlas.load(lookups, country()) is not None
    (atlas.folder / "countries.csv").unlink()
    assert atlas.load(lookups, country(required=False)) is None
    assert lookups.rows(country()).num_rows == 3


@pytest.mark.parametrize("twin", ["DE,Deutschland,85", "DE,Germany,84"])
def test_two_rows_with_one_key_are_a_mistake_that_names_it(bench: Bench, twin: str) -> None:
    bench.reference("countries", COUNTRIES, "DE,Germany,84", "FR,France,", twin)
    with pytest.raises(UserMistake, match="countries has 2 rows with iso = DE") as caught:
        bench.lookups(country())
    assert caught.value.kind.code == "INT_BETA_006"


def test_several_rows_without_a_key_are_no_mistake(bench: Bench) -> None:
    bench.reference("countries", COUNTRIES, ",a,1", ",b,2", "DE,Germany,84")
    assert bench.lookups(country()).rows(country()).num_rows == 1


def test_a_table_beyond_the_limit_is_a_mistake(atlas: Bench) -> None:
    table = atlas.tables["countries"]
    with (
        closing(open_source(table, atlas.folder, Settings())) as source,
        closing(Validator(table, Settings())) as validator,
    ):
        assert load_lookup(country(), table, source, validator, 3).rows.num_rows == 3
        with pytest.raises(UserMistake, match="countries has more than 2 rows") as caught:
            load_lookup(country(), table, source, validator, 2)
    assert caught.value.kind.code == "INT_BETA_007"


def test_a_table_that_the_cache_cannot_hold_is_a_mistake(atlas: Bench) -> None:
    with pytest.raises(UserMistake, match="its limit is 10"):
        atlas.load(Lookups(MemoryCache(10), atlas.settings), country())


def test_a_lookup_that_was_never_loaded_is_our_own_mistake(atlas: Bench) -> None:
    with pytest.raises(KeyError, match="country_of"):
        Lookups(MemoryCache(10), atlas.settings).rows(country())
