"""APIs to read from: not built yet, so all of it becomes questions, each at its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.documents.kinds import Auth, Pagination
from penstock.expressions import did_you_mean
from penstock.planning import codes
from penstock.planning.naming import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.documents.kinds import ApiIntegration
    from penstock.planning.notes import Described, Notes

_SIGN_IN = {
    Auth.OAUTH2: "the URL that hands out tokens, and where client id and secret come from",
    Auth.API_KEY: "which header or parameter carries the key, and where the key comes from",
    Auth.BASIC: "where user and password come from",
    Auth.BEARER: "where the token comes from",
}
_NEXT_PAGE = {
    Pagination.CURSOR: "which field of the answer holds the next cursor, and which parameter takes it",
    Pagination.OFFSET: "which parameters take offset and limit",
    Pagination.PAGE: "which parameter takes the page's number, and which is the last page",
}


def note_apis(apis: Iterable[Described[ApiIntegration]], notes: Notes) -> None:
    """Note what will not be built of each API, and what its document would have to say besides."""
    for asked in apis:
        api = asked.part.source_api
        paths = ", ".join(endpoint.path for endpoint in asked.part.endpoints) or "nothing is asked of it"
        sync = asked.part.sync_requirements
        wishes = [str(wish) for wish in (sync.frequency, sync.initial_load) if wish] if sync else []
        more = f", {', '.join(wishes)}" if wishes else ""
        place = asked.spot.at("source_api", "name")
        notes.add(codes.API, place, f"`{api.name}` ({api.base_url}: {paths}{more}) is not read: {codes.API.title}")
        notes.add(codes.API_MODEL, place, f"`{api.name}`: no model is fed by its records")
        if api.auth in _SIGN_IN:
            notes.add(
                codes.API_AUTH, asked.spot.at("source_api", "auth"), f"`{api.auth}` leaves open {_SIGN_IN[api.auth]}"
            )
        _note_endpoints(asked, notes)


def _note_endpoints(asked: Described[ApiIntegration], notes: Notes) -> None:
    contract = asked.part.data_contract
    fields = [field.name for field in contract.fields] if contract else []
    for index, endpoint in enumerate(asked.part.endpoints):
        spot = asked.spot.down("endpoints", index)
        if endpoint.pagination in _NEXT_PAGE:
            leaves_open = f"`{endpoint.pagination}` leaves open {_NEXT_PAGE[endpoint.pagination]}"
            notes.add(codes.API_PAGES, spot.at("pagination"), leaves_open)
        if endpoint.incremental_key and find(endpoint.incremental_key, fields) is None:
            notes.add(
                codes.API_FIELD, spot.at("incremental_key"),
                f"`{endpoint.incremental_key}` is not among the fields of `data_contract`",
                did_you_mean(endpoint.incremental_key, fields, codes.API_FIELD.remedy),
            )  # fmt: skip
