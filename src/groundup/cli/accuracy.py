"""The table of accuracies that the alignment verbs end with."""

from typing import Any


def print_accuracy(result: dict[str, Any]) -> None:
    """Held-out accuracy over all instructions and by task, with 95 % intervals."""
    from rich.console import Console
    from rich.table import Table

    table = Table("held-out instructions", "accuracy", "95 % interval", "n")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {"all": result["accuracy"], **result["accuracy_by_task"]}
    for name, row in rows.items():
        table.add_row(name, f"{row['estimate']:.1%}", f"{row['low']:.1%} to {row['high']:.1%}", str(row["n"]))
    Console().print(table)
