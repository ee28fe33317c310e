"""Documents to `Pipeline`: names resolved, expressions typed, rules understood, and whatever is open said at its line.

Pure and deterministic: the same documents give the same plan, to the byte.
"""

from penstock.planning.codes import KINDS
from penstock.planning.describing import describe
from penstock.planning.plan import Planned, plan
from penstock.planning.streaming import streaming_of

__all__ = ["KINDS", "Planned", "describe", "plan", "streaming_of"]
