"""Module Alpha: reads, parses, validates, and holds what it has handed over until that is settled."""
