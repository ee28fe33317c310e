"""Every setting, by the spec's name, with its default and range: the one table that docs and checks are drawn from.

Values come from: argument > environment > `penstock.toml` > document > default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from penstock.errors import UserMistake

WORDS: Mapping[str, bool] = MappingProxyType(
    dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
)
"""What a switch takes, in upper or lower case."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: what it does, its unit, and the closed range that a value must lie in.

    Its default says of which kind it is: a switch (bool), a whole number (int) or a number (float).
    """

    name: str
    default: float
    low: float
    high: float
    what: str
    ours: bool = False
    """True for an addition of ours, False for one of the spec's."""
    otherwise: str = ""
    """What happens where no value is given, if that is not what the default says."""

    @property
    def is_switch(self) -> bool:
        """Tell whether it is on or off, instead of a number."""
        return isinstance(self.default, bool)

    @property
    def is_whole(self) -> bool:
        """Tell whether it is a whole number."""
        return isinstance(self.default, int) and not self.is_switch

    @property
    def takes(self) -> str:
        """Say which values it takes: "a whole number from 1 to 1,000"."""
        if self.is_switch:
            return "true or false (or yes, no, on, off, 1, 0)"
        kind = "a whole number" if self.is_whole else "a number"
        return f"{kind} from {self.low:,} to {self.high:,}"

    def read(self, value: object) -> float:
        """Return `value` as this setting's kind of value; UserMistake with what it takes where it is not one."""
        read = self._read(str(value).strip())
        if read is None:
            why = self.otherwise or f"for the default, {shown(self.default)}"
            raise UserMistake(
                "INT_PIPELINE_005", f"{self.name} = {value}: it takes {self.takes}", remedy=f"leave it out {why}"
            )
        return read

    def _read(self, text: str) -> float | None:
        if self.is_switch:
            return WORDS.get(text.lower())
        try:
            number: float = int(text) if self.is_whole else float(text)
        except ValueError:
            return None
        return number if self.low <= number <= self.high else None


def shown(value: float) -> str:
    """Return a value as messages write it: true, false, or a number in groups of three digits."""
    return str(value).lower() if isinstance(value, bool) else f"{value:,}"


_MIB = 1 << 20

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        setting.name: setting
        for setting in (
            Setting("ALPHA_BETA_BATCH_SIZE", 1000, 1, 1_000_000, "records per transfer batch"),
            Setting("ALPHA_BETA_FLUSH_TIMEOUT_MS", 5000, 0, 3_600_000, "longest wait before a batch is sent as it is"),
            Setting("ALPHA_BETA_ACK_TIMEOUT_MS", 30000, 1, 3_600_000, "deadline for RECEIVED"),
            Setting("ALPHA_BETA_RETRY_DELAY_MS", 1000, 0, 3_600_000, "wait before the first retransmission"),
            Setting("ALPHA_BETA_MAX_RETRIES", 5, 0, 1_000, "retransmissions before the batch is parked"),
            Setting("ALPHA_BETA_BACKOFF_MULTIPLIER", 2.0, 1.0, 100.0, "growth of that wait from one to the next"),
            Setting("BETA_GAMMA_BATCH_SIZE", 500, 1, 1_000_000, "records per transfer batch"),
            Setting("BETA_GAMMA_FLUSH_TIMEOUT_MS", 5000, 0, 3_600_000, "longest wait before a batch is sent as it is"),
            Setting("BETA_GAMMA_ACK_TIMEOUT_MS", 30000, 1, 3_600_000, "deadline for RECEIVED"),
            Setting("BETA_GAMMA_RETRY_DELAY_MS", 1000, 0, 3_600_000, "wait before the first retransmission"),
            Setting("BETA_GAMMA_MAX_RETRIES", 5, 0, 1_000, "retransmissions before the batch is parked"),
            Setting("BETA_GAMMA_BACKOFF_MULTIPLIER", 2.0, 1.0, 100.0, "growth of that wait", ours=True),
            Setting("BACKPRESSURE_HIGH_WATERMARK", 0.8, 0.0, 1.0, "share of the queue at which ACTIVATE is sent"),
            Setting("BACKPRESSURE_LOW_WATERMARK", 0.5, 0.0, 1.0, "share of the queue at which DEACTIVATE is sent"),
            Setting("CIRCUIT_FAILURE_THRESHOLD", 5, 1, 1_000, "failures in a row that open a circuit"),
            Setting("CIRCUIT_RESET_TIMEOUT_MS", 60000, 1, 86_400_000, "wait before an open circuit lets a probe pass"),
            Setting(
                "STREAMING_MODE_ENABLED",
                default=False,
                low=False,
                high=True,
                what="hand records to Beta as they come, instead of in batches; not given: planning decides",
                otherwise="to let planning decide for each source",
            ),
            Setting("TRANSFER_WINDOW_BATCHES", 64, 1, 100_000, "batches sent and not yet RECEIVED, per hop", ours=True),
            Setting("UNSETTLED_BATCHES", 8192, 1, 1_000_000, "batches sent and not yet settled, per hop", ours=True),
            Setting("LINK_HEARTBEAT_MS", 1000, 10, 60_000, "time between two heartbeats of a link", ours=True),
            Setting("STREAMING_BATCH_RECORDS", 1000, 1, 100_000, "most records of a streamed micro-batch", ours=True),
            Setting("STREAMING_BUDGET_MS", 100, 1, 60_000, "time a micro-batch may take at the next stage", ours=True),
            Setting(
                "STREAMING_CREDIT_RECORDS", 100_000, 1, 10_000_000, "records Beta lets be streamed ahead", ours=True
            ),
            Setting("FOLLOW_POLL_MS", 10, 1, 60_000, "time between two looks at a followed file at rest", ours=True),
            Setting("BETA_QUEUE_BATCHES", 256, 1, 100_000, "batches that Beta's input queue holds", ours=True),
            Setting("GAMMA_QUEUE_BATCHES", 512, 1, 100_000, "batches that Gamma's input queue holds", ours=True),
            Setting("READ_BYTES", 8 * _MIB, 64, 1024 * _MIB, "bytes of a file read at a time", ours=True),
            Setting("RECORD_BYTES_MAX", 1 * _MIB, 64, 256 * _MIB, "longest record of a text file", ours=True),
            Setting("WINDOW_BYTES", 64 * _MIB, 4096, 65536 * _MIB, "unsettled bytes at which reading waits", ours=True),
            Setting("WINDOW_RECORDS", 1_000_000, 1, 1_000_000_000, "unsettled records, likewise", ours=True),
            Setting("COMMIT_RECORDS", 250_000, 1, 100_000_000, "rows after which a transaction is closed", ours=True),
            Setting("COMMIT_IDLE_MS", 50, 0, 3_600_000, "time without arrivals after which one is closed", ours=True),
            Setting("COMMIT_INTERVAL_MS", 1000, 0, 3_600_000, "longest time one is kept open", ours=True),
            Setting("ENGINE_MEMORY_BYTES", 128 * _MIB, 64 * _MIB, 1 << 40, "memory of each DuckDB in use", ours=True),
            Setting("CACHE_BYTES_MAX", 1024 * _MIB, _MIB, 1 << 40, "memory of the lookups' cache", ours=True),
            Setting("LOOKUP_ROWS_MAX", 5_000_000, 1, 1_000_000_000, "largest table a lookup may load", ours=True),
        )
    }
)

ORDERED: tuple[tuple[str, str], ...] = (("BACKPRESSURE_LOW_WATERMARK", "BACKPRESSURE_HIGH_WATERMARK"),)
"""Pairs of settings of which the first is at most the second."""


class Settings(Mapping[str, float]):
    """Values for all of `SETTINGS`. Whole numbers are `int`, switches `bool`."""

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        """`values` override defaults; UserMistake for an unknown name, a value out of range, or two that contradict."""
        given = dict(values or {})
        unknown = sorted(given.keys() - SETTINGS.keys())
        if unknown:
            raise UserMistake("INT_PIPELINE_005", f"no setting is called {unknown[0]}", remedy="see docs/settings.md")
        self._given = frozenset(given)
        self._values = {name: setting.default for name, setting in SETTINGS.items()}
        self._values |= {name: SETTINGS[name].read(value) for name, value in given.items()}
        for low, high in ORDERED:
            if self._values[low] > self._values[high]:
                raise UserMistake(
                    "INT_PIPELINE_005",
                    f"{high} = {shown(self._values[high])} is below {low} = {shown(self._values[low])}",
                    remedy="set both, in their order",
                )

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def given(self, name: str) -> bool:
        """Tell whether anyone said a value; where nobody did, the default holds."""
        assert name in SETTINGS, name
        return name in self._given

    def whole(self, name: str) -> int:
        """Return a setting that counts something."""
        return int(self._values[name])

    def seconds(self, name: str) -> float:
        """Return a setting in milliseconds as seconds."""
        return self._values[name] / 1000

    def switch(self, name: str) -> bool:
        """Return a setting that is on or off."""
        return bool(self._values[name])
