"""Hand-off documents: Markdown and YAML in, frozen values and findings with file, line and column out."""

from penstock.documents.kinds import BuilderToStream, HandoffKind, PulseToStream, SchemaToStream
from penstock.documents.load import Block, Documents, load
from penstock.documents.places import Places

__all__ = [
    "Block",
    "BuilderToStream",
    "Documents",
    "HandoffKind",
    "Places",
    "PulseToStream",
    "SchemaToStream",
    "load",
]
