"""Conformance suites: what every source and every sink owes, for those of Penstock and for those of others.

A suite is a class of tests. Subclass it in a test module and give it the fixture `harness`, which makes, fills and
breaks the outside thing. It holds the connector to `penstock.ports` and to what its class declares. What is not
declared is reported as "not promised", what a harness cannot do as "cannot be shown". It needs pytest.

See docs/connectors.md.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.reading", f"{__name__}.suite", f"{__name__}.sources", f"{__name__}.sinks")

from penstock.testing.conformance.harness import Cannot, Harness, SinkHarness, SourceHarness  # noqa: E402 - see above
from penstock.testing.conformance.sinks import SinkSuite  # noqa: E402 - likewise
from penstock.testing.conformance.sources import SourceSuite  # noqa: E402 - likewise

__all__ = ["Cannot", "Harness", "SinkHarness", "SinkSuite", "SourceHarness", "SourceSuite"]
