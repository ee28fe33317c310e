"""Our types as PostgreSQL calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.model.schema import Kind

if TYPE_CHECKING:
    from penstock.model.schema import DataType


def type_name(of_type: DataType) -> str:
    """Return the type as `format_type` of PostgreSQL spells it. Bounds on length and values are checks, not types.

    `json`, not `jsonb`: the one keeps what was written, the other an equal document.
    """
    match of_type.kind:
        case Kind.DECIMAL:
            return f"numeric({of_type.precision},{of_type.scale})"
        case Kind.TIME | Kind.TIMESTAMP:
            return f"{of_type.kind.value} without time zone"
        case _:
            return of_type.kind.value
