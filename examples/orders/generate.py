"""Make the data of a shop: customers, products, stores, orders and their items, as many as asked for.

The rows are coherent: every order has items, its `total_amount` is the sum of them less its `discount`, and everything
it refers to exists. `--dirty SHARE` then breaks that share of the orders, each in one of `WAYS`, and `manifest.json`
says which record was broken how, what the clean ones add up to, and so what a pipeline has to arrive at.

The same `--orders` and `--seed` always give the same rows, whatever the format; breaking some leaves the others as they
were. An order that was broken keeps its items: they then belong to an order that nobody can read.

    python examples/orders/generate.py --orders 100000 --dirty 0.01 --output examples/orders/data
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypedDict, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

T = TypeVar("T")
Value: TypeAlias = int | str | Decimal | datetime | None
Row: TypeAlias = tuple[Value, ...]

MONEY = pa.decimal128(10, 2)
TIMESTAMP = pa.timestamp("us")

SCHEMAS: Mapping[str, pa.Schema] = MappingProxyType(
    {
        "customers": pa.schema(
            {
                "id": pa.int64(),
                "name": pa.string(),
                "email": pa.string(),
                "segment": pa.string(),
                "country": pa.string(),
                "created_at": TIMESTAMP,
            }
        ),
        "products": pa.schema({"id": pa.int64(), "name": pa.string(), "category": pa.string(), "list_price": MONEY}),
        "stores": pa.schema({"id": pa.int64(), "name": pa.string(), "city": pa.string(), "region": pa.string()}),
        "orders": pa.schema(
            {
                "id": pa.int64(),
                "customer_id": pa.int64(),
                "store_id": pa.int64(),
                "status": pa.string(),
                "discount": MONEY,
                "total_amount": MONEY,
                "created_at": TIMESTAMP,
                "updated_at": TIMESTAMP,
            }
        ),
        "order_items": pa.schema(
            {
                "id": pa.int64(),
                "order_id": pa.int64(),
                "product_id": pa.int64(),
                "quantity": pa.int32(),
                "unit_price": MONEY,
            }
        ),
    }
)
"""Table → columns, in the order in which they are written."""


class Order(NamedTuple):
    """One row of `orders`."""

    id: int
    customer_id: int
    store_id: int
    status: str
    discount: Decimal
    total_amount: Decimal
    created_at: datetime
    updated_at: datetime


class Product(NamedTuple):
    """One row of `products`."""

    id: int
    name: str
    category: str
    list_price: Decimal


# --- what the shop sells, to whom, and where ------------------------------------------------------------------------
# Some of these names hold quotes, commas and letters beyond ASCII, so that every reader downstream meets them.

FIRST_NAMES = (
    "Ada",
    "Björn",
    "Chloé",
    "Dmitri",
    "Esra",
    "Fatima",
    "Grace",
    "Hiroshi",
    "Inês",
    "José",
    "Lena",
    "Øyvind",
)
LAST_NAMES = ("Almeida", "Brown", "Chen", "Dupont", "Müller", "Nowak", "O'Brien", "Rossi", "Smith, Jr.", "Şahin")
SEGMENTS = ("consumer", "consumer", "consumer", "small business", "corporate")
COUNTRIES = ("BR", "CN", "DE", "FR", "GB", "IE", "IT", "JP", "NO", "PL", "TR", "US")
CATEGORIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kitchen": ("Kettle", "Café press", 'Pan 10"', "Bread knife"),
        "office": ("Desk lamp", "Notebook, ruled", 'Monitor 27"', "Chair"),
        "garden": ("Hose", "Trowel", "Seeds, mixed", "Rain barrel"),
        "travel": ("Rucksack", "Adapter", "Tent, 2 people", "Flask"),
    }
)
CITIES: tuple[tuple[str, str], ...] = (
    ("Lisbon", "south"),
    ("Kraków", "east"),
    ("Lyon", "west"),
    ("Oslo", "north"),
    ("Palermo", "south"),
    ("Göteborg", "north"),
    ("Cork", "west"),
    ("İzmir", "east"),
)
STATUSES = ("pending", "paid", "paid", "paid", "shipped", "shipped", "shipped", "shipped", "cancelled")
DISCOUNTS_PERCENT = (0, 0, 0, 0, 0, 0, 5, 5, 10, 20)

OPENED = datetime(2024, 1, 1)  # noqa: DTZ001 (the columns are timestamps without a zone)
SELLING = timedelta(days=730)
BEFORE = timedelta(days=1000)
"""Customers sign up within this time before the shop opens."""

SETTLES_S_MAX = 20 * 86_400
ITEMS_MAX = 5
QUANTITY_MAX = 4
LIST_PRICE_CENTS_MAX = 40_000
"""With the two above, an order stays far below what numeric(10,2) can hold."""

CUSTOMERS_MIN, ORDERS_PER_CUSTOMER = 10, 10
PRODUCTS_MIN, PRODUCTS_MAX, ORDERS_PER_PRODUCT = 20, 20_000, 50
STORES_MIN, STORES_MAX, ORDERS_PER_STORE = 3, 200, 5_000


class Shop:
    """Everything about the shop that (orders, seed) decide. Each table draws from its own stream of chance."""

    def __init__(self, *, orders: int, seed: int) -> None:
        self._orders = orders
        self._seed = seed
        self._customers = max(CUSTOMERS_MIN, orders // ORDERS_PER_CUSTOMER)
        self._stores = min(max(STORES_MIN, orders // ORDERS_PER_STORE), STORES_MAX)
        self._products = tuple(self._make_products(min(max(PRODUCTS_MIN, orders // ORDERS_PER_PRODUCT), PRODUCTS_MAX)))
        self._cents = tuple(int(product.list_price.scaleb(2)) for product in self._products)

    def customers(self) -> Iterator[Row]:
        """All customers, by id."""
        draw = self._chance("customers").random
        for number in range(1, self._customers + 1):
            first, last = _pick(FIRST_NAMES, draw()), _pick(LAST_NAMES, draw())
            joined = OPENED - timedelta(seconds=1 + int(draw() * BEFORE.total_seconds()))
            email = f"customer{number}@example.com"
            yield number, f"{first} {last}", email, _pick(SEGMENTS, draw()), _pick(COUNTRIES, draw()), joined

    def products(self) -> Iterator[Row]:
        """All products, by id."""
        yield from self._products

    def stores(self) -> Iterator[Row]:
        """All stores, by id."""
        for number in range(1, self._stores + 1):
            city, region = CITIES[number % len(CITIES)]
            yield number, f"{city} no. {number}", city, region

    def orders(self) -> Iterator[tuple[Order, list[Row]]]:
        """All orders by id, which is also by time of creation, each with its rows of `order_items`."""
        draw = self._chance("orders").random
        step_s = SELLING.total_seconds() / self._orders
        item_id = 1
        for number in range(1, self._orders + 1):
            items, subtotal_cents = self._items(number, item_id, draw)
            item_id += len(items)
            discount_cents = subtotal_cents * _pick(DISCOUNTS_PERCENT, draw()) // 100
            created_at = OPENED + timedelta(seconds=int((number - 1 + draw()) * step_s))
            order = Order(
                id=number,
                customer_id=1 + int(draw() * self._customers),
                store_id=1 + int(draw() * self._stores),
                status=_pick(STATUSES, draw()),
                discount=_money(discount_cents),
                total_amount=_money(subtotal_cents - discount_cents),
                created_at=created_at,
                # At least a second later, so that an older version of any order can be made.
                updated_at=created_at + timedelta(seconds=1 + int(draw() * SETTLES_S_MAX)),
            )
            yield order, items

    def _items(self, order_id: int, item_id: int, draw: Callable[[], float]) -> tuple[list[Row], int]:
        """The rows of `order_items` for one order, the first with `item_id`, and their sum in cents."""
        rows: list[Row] = []
        cents = 0
        for position in range(1 + int(draw() * ITEMS_MAX)):
            which = int(draw() * len(self._products))
            product = self._products[which]
            quantity = 1 + int(draw() * QUANTITY_MAX)
            cents += quantity * self._cents[which]
            rows.append((item_id + position, order_id, product.id, quantity, product.list_price))
        return rows, cents

    def _make_products(self, count: int) -> Iterator[Product]:
        draw = self._chance("products").random
        categories = tuple(CATEGORIES)
        for number in range(1, count + 1):
            category = _pick(categories, draw())
            name = f"{_pick(CATEGORIES[category], draw())} {number}"
            # The square makes cheap things common.
            yield Product(number, name, category, _money(99 + int(draw() ** 2 * LIST_PRICE_CENTS_MAX)))

    def _chance(self, table: str) -> Random:
        return Random(f"{self._seed}/{table}")


def _pick(choices: tuple[T, ...], drawn: float) -> T:
    """One of `choices`; `drawn` in [0, 1) is drawn by the caller."""
    return choices[int(drawn * len(choices))]


def _money(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


# --- what is broken, and how ----------------------------------------------------------------------------------------

BAD_NUMBERS = ("n/a", "12.3.4", "1O0.00", "€ 5")
BAD_DATES = ("2024-02-30 12:00:00", "2024-13-01 00:00:00", "yesterday")
TOO_LARGE = Decimal("123456789012.34")
"""Twelve digits before the point; numeric(10,2) has room for eight."""

NOT_UTF8 = "\udcff"
"""Python's stand-in for a byte 0xFF that does not decode; writing with `surrogateescape` gives the byte back."""

EARLIER_ORDERS_MAX = 10_000
"""An old version turns up at most this many records after the order it belongs to."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to break an order. `damage(order, earlier, draw)` returns the row to write in its place."""

    name: str
    formats: frozenset[str]
    damage: Callable[[Order, Order, Callable[[], float]], Row]


TEXTUAL = frozenset({"csv", "jsonl"})
EVERYWHERE = frozenset({"csv", "jsonl", "parquet"})

WAYS: tuple[Way, ...] = (
    Way("unparseable_number", TEXTUAL, lambda order, _, draw: put(order, "total_amount", _pick(BAD_NUMBERS, draw()))),
    Way("negative_amount", EVERYWHERE, lambda order, _, __: put(order, "total_amount", -order.total_amount)),
    Way("missing_id", EVERYWHERE, lambda order, _, __: put(order, "id", None)),
    Way("bad_date", TEXTUAL, lambda order, _, draw: put(order, "created_at", _pick(BAD_DATES, draw()))),
    Way("too_many_fields", frozenset({"csv"}), lambda order, _, __: (*order, "surplus")),
    Way("too_few_fields", frozenset({"csv"}), lambda order, _, draw: order[: 1 + int(draw() * (len(order) - 1))]),
    Way("older_duplicate", EVERYWHERE, lambda _, earlier, __: older_version(earlier)),
    Way("broken_utf8", TEXTUAL, lambda order, _, __: put(order, "status", f"pa{NOT_UTF8}id")),
    Way("amount_out_of_range", TEXTUAL, lambda order, _, __: put(order, "total_amount", TOO_LARGE)),
)
"""Ragged lines exist in CSV only, and what a Parquet column cannot hold cannot be wrong in it."""


def put(order: Order, column: str, value: Value) -> Row:
    """The order's row with one column changed, to a value of any type."""
    where = Order._fields.index(column)
    return (*order[:where], value, *order[where + 1 :])


def older_version(order: Order) -> Order:
    """The order as it was when it was created: the same id, an `updated_at` before the one it has now."""
    return order._replace(status="pending", updated_at=order.created_at)


class Breakage:
    """Breaks the chosen records of `orders`, remembers what it did, and adds up what it left alone."""

    def __init__(self, *, orders: int, share: float, seed: int, file_format: str) -> None:
        chance = Random(f"{seed}/breakage")
        ways = [way for way in WAYS if file_format in way.formats]
        # The first record stays whole: an old version needs an order to be a version of.
        chosen = chance.sample(range(1, orders), min(round(share * orders), orders - 1))
        self._ways = {record: ways[turn % len(ways)] for turn, record in enumerate(chosen)}
        self._draw = chance.random
        self._earlier: deque[Order] = deque(maxlen=EARLIER_ORDERS_MAX)
        self.broken: list[tuple[int, Way, Value]] = []
        """0-based record, way, and the id that the record as written shows; None where it shows none."""
        self.clean_orders = 0
        self.clean_total = Decimal(0)

    def apply(self, record: int, order: Order) -> Row:
        """The row to write as 0-based `record`: `order` itself unless it is one of the chosen."""
        way = self._ways.get(record)
        if way is None:
            self._earlier.append(order)
            self.clean_orders += 1
            self.clean_total += order.total_amount
            return order
        row = way.damage(order, self._earlier[int(self._draw() * len(self._earlier))], self._draw)
        self.broken.append((record, way, row[0]))
        return row


# --- how it is written ----------------------------------------------------------------------------------------------

ROWS_PER_WRITE = 10_000
ROWS_PER_GROUP = 100_000
SUFFIXES: Mapping[str, str] = MappingProxyType({"none": "", "gzip": ".gz", "zstd": ".zst"})


class Writer(Protocol):
    """Where the rows of one table go. Complete once closed."""

    rows: int
    path: Path

    def write(self, row: Row) -> None:
        """Append one row."""

    def close(self) -> None:
        """Write what is left, and finish the file."""


class TextWriter:
    """One record per line, each line made by `encode`."""

    def __init__(self, path: Path, *, compression: str, encode: Callable[[Row], str], header: Row | None) -> None:
        self.path = path
        self.rows = 0
        self._encode = encode
        self._lines: list[str] = [] if header is None else [encode(header)]
        self._file = pa.output_stream(str(path), compression=None if compression == "none" else compression)

    def write(self, row: Row) -> None:
        """Append one row."""
        self._lines.append(self._encode(row))
        self.rows += 1
        if len(self._lines) >= ROWS_PER_WRITE:
            self._flush()

    def close(self) -> None:
        """Write what is left, and finish the file."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write("".join(self._lines).encode("utf-8", "surrogateescape"))
        self._lines.clear()


class ParquetWriter:
    """A row group for every so many rows."""

    def __init__(self, path: Path, *, compression: str, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._rows: list[Row] = []
        self._file = pq.ParquetWriter(str(path), schema, compression=compression)

    def write(self, row: Row) -> None:
        """Append one row."""
        self._rows.append(row)
        self.rows += 1
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left, and finish the file."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows.clear()


def csv_line(row: Row) -> str:
    """RFC 4180, with a newline alone at the end; nothing at all stands for null."""
    return ",".join([CSV_LITERALS[type(value)](value) for value in row]) + "\n"


def json_line(names: tuple[str, ...]) -> Callable[[Row], str]:
    """One JSON object per line; money as a number with two decimals, exact to whoever reads it as decimal."""
    keys = tuple(f"{json.dumps(name)}: " for name in names)

    def encode(row: Row) -> str:
        fields = [key + JSON_LITERALS[type(value)](value) for key, value in zip(keys, row, strict=True)]
        return "{" + ", ".join(fields) + "}\n"

    return encode


def _quoted(text: str) -> str:
    if "," in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text


CSV_LITERALS: Mapping[type, Callable[..., str]] = MappingProxyType(
    {int: str, Decimal: str, str: _quoted, datetime: str, NoneType: lambda _: ""}
)
JSON_LITERALS: Mapping[type, Callable[..., str]] = MappingProxyType(
    {
        int: str,
        Decimal: str,
        str: lambda text: json.dumps(text, ensure_ascii=False),
        datetime: lambda moment: f'"{moment.isoformat()}"',
        NoneType: lambda _: "null",
    }
)


def open_table(table: str, output: Path, *, file_format: str, compression: str) -> Writer:
    """Start the file of one table: `orders.csv`, `orders.jsonl.zst`, `orders.parquet`."""
    schema = SCHEMAS[table]
    if file_format == "parquet":
        return ParquetWriter(output / f"{table}.parquet", compression=compression, schema=schema)
    path = output / f"{table}.{file_format}{SUFFIXES[compression]}"
    names = tuple(schema.names)
    if file_format == "csv":
        return TextWriter(path, compression=compression, encode=csv_line, header=names)
    return TextWriter(path, compression=compression, encode=json_line(names), header=None)


# --- the whole ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    orders: int
    seed: int
    dirty: float
    format: str
    compression: str
    output: Path


class Manifest(TypedDict):
    """What `manifest.json` holds."""

    seed: int
    dirty: float
    format: str
    compression: str
    tables: dict[str, TableFile]
    clean_orders: CleanOrders
    broken_orders: BrokenOrders


class TableFile(TypedDict):
    """One table: its file, and the records in it (a header is none)."""

    file: str
    rows: int


class CleanOrders(TypedDict):
    """The orders left alone, and the exact sum of their `total_amount`."""

    rows: int
    total_amount: str


class BrokenOrders(TypedDict):
    """The orders that were broken: how many, how many in each way, and every one of them."""

    rows: int
    ways: dict[str, int]
    records: list[BrokenRecord]


class BrokenRecord(TypedDict):
    """Where a broken record is (1-based line of the file; row of a Parquet file), how, and the id it shows."""

    line: int
    way: str
    id: Value


def generate(request: Request) -> Manifest:
    """Write every table and the manifest; return the manifest."""
    request.output.mkdir(parents=True, exist_ok=True)
    shop = Shop(orders=request.orders, seed=request.seed)
    breakage = Breakage(orders=request.orders, share=request.dirty, seed=request.seed, file_format=request.format)
    writers = {
        table: open_table(table, request.output, file_format=request.format, compression=request.compression)
        for table in SCHEMAS
    }
    for table, rows in (("customers", shop.customers()), ("products", shop.products()), ("stores", shop.stores())):
        _write_all(writers[table], rows)
    for record, (order, items) in enumerate(shop.orders()):
        writers["orders"].write(breakage.apply(record, order))
        _write_all(writers["order_items"], items)
    for writer in writers.values():
        writer.close()
    manifest = describe(request, writers, breakage)
    (request.output / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def _write_all(writer: Writer, rows: Iterable[Row]) -> None:
    for row in rows:
        writer.write(row)


def describe(request: Request, writers: Mapping[str, Writer], breakage: Breakage) -> Manifest:
    """The manifest: what is there, what is broken, and what the clean orders add up to."""
    # A CSV file starts with its header, so its first record is line 2. In Parquet a "line" is a row, from 1.
    first_line = 2 if request.format == "csv" else 1
    return {
        "seed": request.seed,
        "dirty": request.dirty,
        "format": request.format,
        "compression": request.compression,
        "tables": {table: {"file": writer.path.name, "rows": writer.rows} for table, writer in writers.items()},
        "clean_orders": {"rows": breakage.clean_orders, "total_amount": str(breakage.clean_total)},
        "broken_orders": {
            "rows": len(breakage.broken),
            "ways": dict(sorted(Counter(way.name for _, way, _ in breakage.broken).items())),
            "records": [
                {"line": record + first_line, "way": way.name, "id": shown} for record, way, shown in breakage.broken
            ],
        },
    }


def main() -> int:
    """Generate what the command line asks for, and say what was written."""
    request = _request()
    manifest = generate(request)
    for name, table in manifest["tables"].items():
        print(f"{name:12} {table['rows']:>12,}  {request.output / table['file']}")
    clean, broken = manifest["clean_orders"], manifest["broken_orders"]
    print(f"{clean['rows']:,} clean orders add up to {clean['total_amount']}; {broken['rows']:,} are broken on purpose")
    return 0


def _request() -> Request:
    parser = argparse.ArgumentParser(description="Make the data of a shop, and break some of it on purpose.")
    parser.add_argument("--orders", type=_count, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dirty", type=_share, default=0.0, metavar="SHARE", help="0.01 breaks one order in a hundred")
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")
    parser.add_argument("--compression", choices=tuple(SUFFIXES), default="none")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "data", metavar="DIR")
    return Request(**vars(parser.parse_args()))


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError("a share is at least 0 and less than 1")
    return share


if __name__ == "__main__":
    sys.exit(main())
