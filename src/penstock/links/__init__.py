"""Drivers that carry the protocol over a transport, one for each end of a hop."""
