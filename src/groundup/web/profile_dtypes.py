"""Number formats, on the page of a profile: of the parameters and what belongs to them, and of the computation."""

from typing import Any

from groundup.web.profile_text import counts_text, moments_text
from groundup.web.report_html import DASH, Child, Column, element, table, whole


def dtypes_section(result: dict[str, Any]) -> Child:
    found = result["dtypes"]
    rows: list[list[Child]] = [
        [
            element("code", row["names"]),
            row["role"],
            whole(row["tensors"]),
            whole(row["numbers"]),
            row["weight"],
            row["gradient"] or DASH,
            row["master"] or DASH,
            moments_text(row) or DASH,
        ]
        for row in found["parameters"]
    ]
    columns = [Column("parameters"), Column("role"), Column("tensors", True), Column("numbers", True)]
    columns += [Column(name) for name in ("weight", "gradient", "master", "moments")]
    computed: list[list[Child]] = [[what, counts_text(counts)] for what, counts in found["computation"].items()]
    note = (
        f"Read off this training ({found['precision']}): parameters after a step, the computation in a pass of one "
        "row, uncompiled; behind a format, how many tensors have it. A weight without a master is its own."
    )
    return [
        table("Parameters", columns, rows),
        table("Computation", [Column("tensors"), Column("formats")], computed),
        element("p", note, class_="quiet"),
    ]
