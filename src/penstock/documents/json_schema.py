"""The format as one JSON Schema, for editors: completion and red lines while a document is being written.

It is looser than `load` where a schema cannot say more (whether a text reads as a rate), and stricter only in that
words to choose from are in lower case. It describes a YAML file: one document's keys, or documents under the names of
their kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from penstock.documents.kinds import MODELS, Part

if TYPE_CHECKING:
    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema draft 2020-12), the same for the same version."""
    references, definitions = models_json_schema(
        [(model, "validation") for model in MODELS.values()], schema_generator=_AsWritten, by_alias=True
    )
    by_kind = {kind: references[model, "validation"] for kind, model in MODELS.items()}
    named = {f"{kind.value}{ending}": reference for kind, reference in by_kind.items() for ending in ("_HANDOFF", "")}
    return {
        "$schema": DIALECT,
        "title": "Penstock hand-off documents",
        "description": "A hand-off document that comes in: what to read, what to deliver, how clean and how fresh.",
        "anyOf": [
            *by_kind.values(),
            {
                "type": "object",
                "description": "Several documents under the names of their kinds.",
                "properties": named,
                "additionalProperties": False,
                "minProperties": 1,
            },
        ],
        "$defs": definitions["$defs"],
    }


class _AsWritten(GenerateJsonSchema):
    """Says what a person writes: a text where it may stand for a mapping, no null, no default that is no value."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        described = super().default_schema(schema)
        if not isinstance(described.get("default"), bool | int | float | str) or described["default"] == "":
            described.pop("default", None)
        return described

    def field_title_should_be_set(self, schema: object) -> bool:
        del schema
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        mapping = super().model_schema(schema)
        model = schema["cls"]
        mapping.pop("title", None)
        if not (issubclass(model, Part) and model.bare):
            return mapping
        text = {"type": "string", "minLength": 1, "description": f"stands for `{model.bare}`"}
        return {"description": mapping.pop("description", ""), "anyOf": [text, mapping]}
