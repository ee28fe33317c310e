"""References that lead nowhere are counted on the way, and refuse nothing."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa

from penstock.ingestion.references import ForeignKeyValidator, References
from penstock.ingestion.validation import Validator
from penstock.model.finding import Place
from penstock.model.pipeline import Connection, ForeignKey, SourceTable
from penstock.model.position import Position
from penstock.model.schema import Field, parse_type
from penstock.model.settings import Settings
from penstock.ports import Chunk, Original

PLACE = Place("shop.md")
CUSTOMER = ForeignKey("customer id", "customers", "id", PLACE)
COUNTRY = ForeignKey("country", "countries", "code", PLACE)
ORDERS = SourceTable(
    "orders",
    "",
    "here",
    Connection("here"),
    (
        Field("id", parse_type("bigint")),
        Field("customer id", parse_type("bigint")),
        Field("country", parse_type("text")),
    ),
    PLACE,
    foreign_keys=(CUSTOMER, COUNTRY),
)
CUSTOMERS = pa.table({"id": pa.array([1, 2, 2, None], pa.int64())})
COUNTRIES = pa.table({"code": ["DE", "NZ"]})


def chunk(*records: tuple[str, str | None, str | None], start: int = 0) -> Chunk:
    columns = zip(*records, strict=True)
    named = dict(zip(("id", "customer id", "country"), (pa.array(list(c), pa.string()) for c in columns), strict=True))
    end = start + len(records)
    return Chunk(
        start, end, pa.RecordBatch.from_pydict(named), None, (), Position("a", end, ""),
        lambda asked: [Original(b"?", 1) for _ in asked], 10,
    )  # fmt: skip


def open_validator(*keys: ForeignKey) -> ForeignKeyValidator:
    values = {CUSTOMER: CUSTOMERS, COUNTRY: COUNTRIES}
    return ForeignKeyValidator(Validator(ORDERS, Settings()), {key: values[key] for key in keys}, Settings())


def test_references_are_counted_over_all_chunks_and_nulls_refer_to_nothing_wrong() -> None:
    with closing(open_validator(CUSTOMER, COUNTRY)) as validator:
        validator.validate(chunk(("1", "1", "DE"), ("2", "9", None), ("3", None, "XX")), 0)
        validator.validate(chunk(("4", "2", "NZ"), ("5", "8", "YY"), start=3), 0)
        assert validator.result() == {CUSTOMER: References(4, 2), COUNTRY: References(4, 2)}


def test_a_dangling_reference_refuses_nothing() -> None:
    with closing(open_validator(CUSTOMER)) as validator:
        validated = validator.validate(chunk(("1", "9", "DE"), ("2", "1", "DE")), 0)
    assert validated.batch.column("id").to_pylist() == [1, 2]
    assert validated.letters == ()


def test_a_record_that_is_refused_is_not_asked_for_its_references() -> None:
    with closing(open_validator(CUSTOMER)) as validator:
        validated = validator.validate(chunk(("one", "9", "DE"), ("2", "9", "DE")), 0)
        assert len(validated.letters) == 1
        assert validator.result() == {CUSTOMER: References(1, 1)}


def test_a_key_that_is_not_given_is_not_counted() -> None:
    with closing(open_validator()) as validator:
        validator.validate(chunk(("1", "9", "XX")), 0)
        assert validator.result() == {}


def test_before_anything_is_read_nothing_dangles() -> None:
    with closing(open_validator(CUSTOMER)) as validator:
        assert validator.result() == {CUSTOMER: References(0, 0)}
