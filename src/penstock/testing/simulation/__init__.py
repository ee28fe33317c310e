"""The hand-off under simulated time and simulated disaster: the shipped stages and links, driven by a seed."""
