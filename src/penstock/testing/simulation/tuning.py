"""Settings drawn from a seed: everything so small and so short that a few hundred records meet every limit."""

from __future__ import annotations

from penstock.model.settings import Settings
from penstock.testing.simulation.weather import stream

RETRIED_HOPS = ("ALPHA_BETA", "BETA_GAMMA")


def draw_settings(seed: int) -> Settings:
    """Return the settings of a simulation."""
    chance = stream(seed, "settings")
    values: dict[str, object] = {}
    for hop in RETRIED_HOPS:
        values |= {
            f"{hop}_BATCH_SIZE": chance.choice((1, 5, 12, 20, 40)),
            f"{hop}_FLUSH_TIMEOUT_MS": chance.choice((0, 20, 200, 2000)),
            f"{hop}_ACK_TIMEOUT_MS": chance.randint(60, 1500),
            f"{hop}_RETRY_DELAY_MS": chance.randint(5, 300),
            f"{hop}_MAX_RETRIES": chance.randint(0, 4),
            f"{hop}_BACKOFF_MULTIPLIER": chance.uniform(1.0, 3.0),
        }
    return Settings(
        values
        | {
            "BACKPRESSURE_HIGH_WATERMARK": chance.uniform(0.5, 1.0),
            "BACKPRESSURE_LOW_WATERMARK": chance.uniform(0.0, 0.5),
            "CIRCUIT_FAILURE_THRESHOLD": chance.randint(1, 8),
            "CIRCUIT_RESET_TIMEOUT_MS": chance.randint(100, 3000),
            "TRANSFER_WINDOW_BATCHES": chance.randint(1, 8),
            "UNSETTLED_BATCHES": chance.choice((1, 2, 4, 8, 32)),
            "LINK_HEARTBEAT_MS": chance.randint(150, 1500),
            "STREAMING_BATCH_RECORDS": chance.randint(1, 20),
            "STREAMING_BUDGET_MS": chance.randint(1, 200),
            "STREAMING_CREDIT_RECORDS": chance.choice((1, 5, 20, 100)),
            "BETA_QUEUE_BATCHES": chance.randint(1, 8),
            "GAMMA_QUEUE_BATCHES": chance.randint(1, 8),
            "WINDOW_RECORDS": chance.choice((1, 20, 60, 200)),
            "WINDOW_BYTES": 4096,
            "COMMIT_RECORDS": chance.choice((1, 10, 50, 1000)),
            "COMMIT_IDLE_MS": chance.choice((0, 5, 50)),
            "COMMIT_INTERVAL_MS": chance.choice((0, 20, 200, 1000)),
        }
    )
