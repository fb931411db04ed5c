"""Count what a process does, and render it for Prometheus."""

from app.metrics.collection import Metrics
from app.metrics.sharing import open_shared_counts

__all__ = ["Metrics", "open_shared_counts"]
