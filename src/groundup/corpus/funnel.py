"""The funnel: for each stage the documents and bytes that are left after it, and the reasons for what it dropped.

Funnels of parts add up, so each work unit counts its own and the run adds them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.corpus.annotation import Annotated


@dataclass
class Stage:
    """One row."""

    documents: int = 0
    bytes: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def dropped(self) -> int:
        return self.reasons.total()

    def row(self, name: str) -> dict[str, Any]:
        """As it stands in `result.json`."""
        return {
            "stage": name,
            "documents": self.documents,
            "dropped": self.dropped,
            "bytes": self.bytes,
            "reasons": dict(sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))),
        }


def count_stages(annotated: Iterable[Annotated], stages: Sequence[str]) -> dict[str, Stage]:
    """The rows of stages that look at one document at a time."""
    rows = {name: Stage() for name in stages}
    for one in annotated:
        size = 0
        for name, row in rows.items():
            size = one.sizes.get(name, size)
            if one.document.drop_stage == name:
                row.reasons[str(one.document.drop_reason)] += 1
                break
            row.documents += 1
            row.bytes += size
    return rows


def add_rows(parts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The sum of funnels with the same stages."""
    total: dict[str, Stage] = {}
    for part in parts:
        for row in part:
            stage = total.setdefault(row["stage"], Stage())
            stage.documents += row["documents"]
            stage.bytes += row["bytes"]
            stage.reasons.update(row["reasons"])
    return [stage.row(name) for name, stage in total.items()]
