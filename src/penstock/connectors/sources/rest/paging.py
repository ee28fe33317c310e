"""From page to page: what leads on, as text that a position can hold, and which parameters ask for it.

none       ""                   there is one page
cursor     the cursor, or the URL that stands in its place
link       the URL of `Link: <...>; rel="next"` (RFC 8288); "" is the endpoint itself
offset     how many records to pass by
page       the number of the page
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.connectors.sources.rest.answers import NEXT_CURSOR
from penstock.errors import UserMistake

if TYPE_CHECKING:
    import httpx

    from penstock.connectors.sources.rest.answers import Page
    from penstock.connectors.sources.rest.options import RestOptions


def first_page(options: RestOptions) -> str:
    """Return what leads to the first page."""
    return {"offset": "0", "page": str(options.first_page)}.get(options.pagination, "")


def url_of(options: RestOptions, pointer: str) -> str | None:
    """Return the URL that `pointer` is, None where it is a parameter's value instead."""
    if options.pagination == "link":
        return pointer or None
    is_url = options.pagination == "cursor" and pointer.startswith(("http://", "https://"))
    return pointer if is_url else None


def parameters_of(options: RestOptions, pointer: str) -> dict[str, str]:
    """Return the parameters that ask for the page that `pointer` leads to."""
    found = {options.size_parameter: str(options.page_size)} if options.page_size else {}
    match options.pagination:
        case "cursor" if pointer:
            found[options.cursor_parameter] = pointer
        case "offset":
            found[options.offset_parameter] = pointer
        case "page":
            found[options.page_parameter] = pointer
        case _:
            pass
    return found


def next_page(options: RestOptions, pointer: str, page: Page, links: dict[str | None, dict[str, str]]) -> str | None:
    """Return what leads to the page after this one, None where this was the last.

    Offsets and page numbers go on until a page is empty: a short one proves nothing.
    """
    match options.pagination:
        case "cursor":
            return page.cursor
        case "link":
            return next((link["url"] for link in links.values() if _leads_on(link)), None)
        case "offset":
            return str(int(pointer) + len(page.records)) if page.records else None
        case "page":
            return str(int(pointer) + 1) if page.records else None
        case _:
            return None


def check_cursor(options: RestOptions, pointer: str, page: Page, where: str) -> None:
    """Refuse to take the first page for the last where nobody said which member holds the cursor, and it has none."""
    guessed = options.pagination == "cursor" and not options.cursor_field
    if guessed and not pointer and page.records and not page.knows_cursors:
        raise UserMistake(
            "INT_ALPHA_020",
            f"{where}: the answer has no `{NEXT_CURSOR}`, so there is no telling whether there are more pages",
            remedy="say which member of it holds the next cursor with `cursor_field`",
        )


def without_parameter(url: httpx.URL, name: str) -> str:
    """Return a link without the parameter `name`: a server may repeat in it the key that it was asked with."""
    return str(url.copy_remove_param(name)) if name in url.params else str(url)


def _leads_on(link: dict[str, str]) -> bool:
    return "next" in link.get("rel", "").lower().split() and bool(link.get("url"))
