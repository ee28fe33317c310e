"""Module Phi: wires the stages into a run, supervises it, and says what came of it."""
