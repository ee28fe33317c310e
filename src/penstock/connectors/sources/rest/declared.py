"""What a connection of kind `rest` promises and takes, for the generated pages and for the check of its options."""

from __future__ import annotations

from penstock.ports import Declaration, Option, Replay, SourcePromises, Values

PROMISES = SourcePromises(Replay.BY_KEY, follows=True, values=Values.TEXT)
DECLARATION = Declaration(
    what="records out of an HTTP API that answers in JSON or JSON Lines",
    place="`url`: the API's base URL, `path`: the endpoint below it; see [APIs](rest.md)",
    promises=(PROMISES,),
    options=(
        Option("auth", "how the API is told who asks: `none`, `api_key`, `basic`, `bearer`, `oauth2`", "none"),
        Option("key", "`api_key`: the key, by reference"),
        Option("key_in", "`api_key`: where the key goes, `header` or `parameter`", "header"),
        Option("key_name", "`api_key`: the name of that header or parameter", "X-API-Key"),
        Option("user", "`basic`: the user"),
        Option("password", "`basic`: the password, by reference"),
        Option("token", "`bearer`: the token, by reference"),
        Option("token_url", "`oauth2`: the URL that hands out tokens"),
        Option("client_id", "`oauth2`: the client"),
        Option("client_secret", "`oauth2`: its secret, by reference"),
        Option("client_auth", "`oauth2`: where the client's credentials go, `header` or `body`", "header"),
        Option("refresh_token", "`oauth2`: the first refresh token, by reference; none: client credentials"),
        Option("scope", "`oauth2`: the scope to ask for"),
        Option("method", "`GET` or `POST`", "GET"),
        Option("idempotent", "`POST`: whether a request may be sent again when its answer was lost", "false"),
        Option("headers", "further headers, `Name: value`, one on a line"),
        Option("parameters", "further parameters, `name=value&other=value`"),
        Option("response_format", "`json` or `jsonl`", "json"),
        Option("records", "path to the list of records in an answer, such as `data.items`"),
        Option("pagination", "`none`, `cursor`, `link`, `offset` or `page`", "none"),
        Option("cursor_field", "path to the next cursor in an answer; without it `next_cursor`, which must be there"),
        Option("cursor_parameter", "the parameter that takes the cursor", "cursor"),
        Option("offset_parameter", "the parameter that takes the offset", "offset"),
        Option("page_parameter", "the parameter that takes the page's number", "page"),
        Option("first_page", "the number of the first page", "1"),
        Option("size_parameter", "the parameter that takes the size of a page", "limit"),
        Option("page_size", "how many records to ask for at a time; 0: the API decides", "0"),
        Option("repeated_pages", "what a page is that was there before: `refuse` it, or `take` it", "refuse"),
        Option("incremental_key", "the field that says what is new since the last time"),
        Option(
            "since_parameter", "the parameter that asks for what is new; empty: everything is read each time", "since"
        ),
        Option("since_format", "how it is written: `iso8601`, `date`, `epoch` or `epoch_ms`", "iso8601"),
        Option("look_back", "how much of what was seen is asked for again", "1 hour"),
        Option("initial_load", "how far back to begin, such as `last 90 days`; empty: at the beginning"),
        Option("frequency", "how often a run that follows asks for what is new", "1 minute"),
        Option("rate_limit", "the most requests, such as `100 requests/minute`"),
        Option("retries", "how often a request is sent again", "8"),
        Option("retry_delay_ms", "the wait before the first time, doubled with each", "500"),
        Option("timeout_ms", "the longest wait for a connection, or for the next byte", "30000"),
        Option("answer_bytes_max", "the longest answer, in bytes", str(64 << 20)),
    ),
)
