from __future__ import annotations

import pytest

from penstock.expressions import Scope
from penstock.model.schema import Field, parse_type

COLUMNS = {
    "id": "bigint",
    "customer_id": "bigint",
    "total_amount": "numeric(10,2)",
    "discount": "numeric(10,2)",
    "quantity": "integer",
    "rate": "double precision",
    "status": "text",
    "name": "text",
    "is_paid": "boolean",
    "created_at": "timestamp",
    "seen_at": "timestamp with time zone",
    "day": "date",
    "order": "text",
}


@pytest.fixture
def orders() -> Scope:
    """The columns of an order, and the row of its customer."""
    fields = tuple(Field(name, parse_type(type_)) for name, type_ in COLUMNS.items())
    return Scope(
        fields, {"customer": (Field("name", parse_type("text")), Field("Segment", parse_type("text")))}, "orders"
    )
