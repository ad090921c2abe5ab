"""The first job of a crawl: each work unit's pages to two tables of documents, what is kept and what is not.

kept.parquet       documents that passed every stage so far, in the order of the pages
rejected.parquet   the others, each with the stage and the reason that dropped it
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from groundup.core.config import decode
from groundup.corpus.annotation import PII_KINDS, Annotated
from groundup.corpus.config import CorpusConfig
from groundup.corpus.crawl.inputs import read_pages
from groundup.corpus.crawl.jobs import KEPT, REJECTED
from groundup.corpus.crawl.pages import STAGES_OF_PAGES, Page, put_aside
from groundup.corpus.crawl.tables import RowWriter, row_of, schema
from groundup.corpus.execution.isolation import Quarantined, kept_isolation
from groundup.corpus.execution.jobs import Task
from groundup.corpus.funnel import add_rows, count_stages
from groundup.corpus.reading.warc import Damage

ANNOTATE = "groundup.corpus.crawl.pages:annotate_pages"
BATCH_PAGES, BATCH_BYTES = 256, 16 << 20
MOST_DAMAGE_SHOWN = 20  # of a unit's, in the manifest; all of it is counted


def make_documents(task: Task) -> dict[str, Any]:
    """Read, extract, filter and write one unit; returns its funnel and counts."""
    config = decode(CorpusConfig, task.config)
    damage: list[Damage] = []
    passed_over = Counter[str]()
    funnels: list[list[dict[str, Any]]] = []
    counts = {name: Counter[str]() for name in ("cleaning", "pii", "languages", "quarantined", "decoding")}
    with ExitStack() as files:
        columns = schema()
        kept, rejected = (files.enter_context(RowWriter(task.folder / name, columns)) for name in (KEPT, REJECTED))
        isolation = kept_isolation(ANNOTATE, config, task.limits)
        for pages, results in isolation.map(_batches(task.inputs, damage, passed_over)):
            found: list[Annotated] = []
            for page, result in zip(pages, results, strict=True):
                if isinstance(result, Quarantined):
                    counts["quarantined"][result.reason] += 1
                found.append(put_aside(page, result.reason) if isinstance(result, Quarantined) else result)
            for one in found:
                (kept if one.document.drop_reason is None else rejected).add(row_of(one))
                counts["cleaning"].update(one.cleaning)
                counts["pii"].update({kind: one.pii[kind] for kind in PII_KINDS})
                counts["decoding"]["documents_with_replaced_characters"] += "replaced_share" in one.document.meta
                counts["languages"][one.language] += one.document.drop_stage != "extract"
            funnels.append([row.row(name) for name, row in count_stages(found, STAGES_OF_PAGES).items()])
    return {
        "funnel": add_rows(funnels),
        **{name: dict(sorted(counter.items())) for name, counter in counts.items()},
        "passed_over": dict(sorted(passed_over.items())),
        "damage": dict(sorted(Counter(one.reason for one in damage).items())),
        "damaged": [one._asdict() | {"path": task.inputs["path"]} for one in damage[:MOST_DAMAGE_SHOWN]],
    }


def _batches(inputs: dict[str, Any], damage: list[Damage], passed_over: Counter[str]) -> Iterator[list[Page]]:
    """Batches of pages, by number and size; damage and records of other kinds are counted."""
    batch: list[Page] = []
    size = 0
    for page in read_pages(inputs, passed_over):
        if isinstance(page, Damage):
            damage.append(page)
            continue
        batch.append(page)
        size += page.bytes
        if len(batch) >= BATCH_PAGES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
