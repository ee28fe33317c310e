"""Module Epsilon: rows kept close, by namespace, within a limit."""
