"""Files that are followed as they grow. See docs/following.md."""

from penstock.connectors.sources.followed.ground import Pace
from penstock.connectors.sources.followed.source import FollowedFiles

__all__ = ["FollowedFiles", "Pace"]
