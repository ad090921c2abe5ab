"""Which implementation of each operation a process used, so that a run's provenance can say so."""

from groundup.core.logging import get_logger

logger = get_logger(__name__)
_chosen: dict[str, str] = {}


def record(operation: str, implementation: str) -> None:
    """Remember that an operation ran on an implementation (the latest one wins)."""
    _chosen[operation] = implementation


def chosen() -> dict[str, str]:
    """Operation to implementation, for `provenance.json`."""
    return dict(sorted(_chosen.items()))


def warn_once(operation: str, implementation: str, reason: str) -> None:
    """Say once that a slower implementation is used, and why."""
    if _chosen.get(operation) != implementation:
        logger.warning("%s runs %s: %s", operation, implementation, reason)
    record(operation, implementation)
