"""Every finding that reading a document can give: the one table that `docs/findings.md` is drawn from."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from penstock.model.finding import FindingKind, Level

if TYPE_CHECKING:
    from collections.abc import Mapping

_E = Level.ERROR

UNREADABLE: Final = FindingKind("DOC_001", _E, "path cannot be read", "check the path and its permission")
NOT_TEXT: Final = FindingKind("DOC_002", _E, "file is not UTF-8 text", "save it as UTF-8")
TOO_LARGE: Final = FindingKind("DOC_003", _E, "more than a document may hold", "split it into several")
NO_BLOCK: Final = FindingKind(
    "DOC_004", _E, "no hand-off block", "begin one with a line such as `## SCHEMA_TO_STREAM_HANDOFF`"
)
TWO_KINDS: Final = FindingKind("DOC_005", _E, "a block is called by two names", "keep the right one of the two")
OPEN_FENCE: Final = FindingKind("DOC_006", _E, "fence is not closed", "close it with a line of its own")
UNKNOWN_KIND: Final = FindingKind(
    "DOC_007", _E, "unknown kind of document", "call it SCHEMA_TO_STREAM, PULSE_TO_STREAM or BUILDER_TO_STREAM"
)
NOT_READ: Final = FindingKind(
    "DOC_008", Level.OPEN_QUESTION, "file beside the documents was not read", "begin it with `## KIND`, or move it away"
)
NOT_YAML: Final = FindingKind("DOC_010", _E, "block is not YAML", "mend the line")
TWICE: Final = FindingKind("DOC_011", _E, "key stands twice", "keep one of the two")
NOT_USED: Final = FindingKind("DOC_012", _E, "a part of YAML that documents do not use", "write the value out")
UNKNOWN_KEY: Final = FindingKind("DOC_020", _E, "unknown key", "take it out, or see docs/documents.md for the keys")
MISSING_KEY: Final = FindingKind("DOC_021", _E, "required key is missing", "add it")
WRONG_SHAPE: Final = FindingKind("DOC_022", _E, "value of another shape than wanted", "write it in the wanted shape")
EMPTY: Final = FindingKind("DOC_023", _E, "value is empty", "fill it, or take the key out")
NOT_A_CHOICE: Final = FindingKind("DOC_024", _E, "not one of the words to choose from", "choose one of them")
NOT_A_QUANTITY: Final = FindingKind("DOC_025", _E, "not the quantity that is wanted", "write it like the example")
NOT_A_TYPE: Final = FindingKind("DOC_026", _E, "unknown column type", "see docs/documents.md for the types")
OUT_OF_RANGE: Final = FindingKind("DOC_027", _E, "number out of its range", "give one inside the range")
NOT_A_NAME: Final = FindingKind("DOC_028", _E, "text that cannot be a name", "choose another name")
NOT_TOGETHER: Final = FindingKind("DOC_029", _E, "keys that contradict one another", "keep one of them")
SAME_NAME: Final = FindingKind("DOC_030", _E, "two entries of one list have the same name", "rename or remove one")
NOT_A_SETTING: Final = FindingKind("DOC_031", _E, "unknown setting", "see docs/settings.md")
A_SECRET: Final = FindingKind("DOC_032", _E, "a secret stands in the document", "take it out")

KINDS: Mapping[str, FindingKind] = MappingProxyType(
    {
        kind.code: kind
        for kind in (
            UNREADABLE, NOT_TEXT, TOO_LARGE, NO_BLOCK, TWO_KINDS, OPEN_FENCE, UNKNOWN_KIND,
            NOT_READ, NOT_YAML, TWICE, NOT_USED, UNKNOWN_KEY,
            MISSING_KEY, WRONG_SHAPE, EMPTY, NOT_A_CHOICE, NOT_A_QUANTITY, NOT_A_TYPE, OUT_OF_RANGE, NOT_A_NAME,
            NOT_TOGETHER, SAME_NAME, NOT_A_SETTING, A_SECRET,
        )
    }
)  # fmt: skip
