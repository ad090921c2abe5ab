"""What Prometheus scrapes from `/metrics`: how much is asked of each model, and how long its clients wait.

Names, labels and meanings are those of vLLM's production metrics with `groundup:` in front, so that what reads those
reads these. Times are taken in the worker's thread: the network is not in them.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from groundup.serving.worker import GenerationWorker

CONTENT_TYPE = CONTENT_TYPE_LATEST
LABEL = ("model_name",)
FIRST_TOKEN_SECONDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
NEXT_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5)
WHOLE_SECONDS = (0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)


class Measurements:
    """Of one model. The registry is the server's; without one they are kept and nobody reads them."""

    def __init__(self, model: str = "", shared: "SharedMetrics | None" = None) -> None:
        shared = shared or SharedMetrics()
        self._prompt_tokens = shared.prompt_tokens.labels(model)
        self._generation_tokens = shared.generation_tokens.labels(model)
        self._first_token = shared.first_token.labels(model)
        self._next_token = shared.next_token.labels(model)
        self._whole = shared.whole.labels(model)
        self._finished = {
            reason: shared.finished.labels(model, reason) for reason in ("stop", "length", "abort", "error")
        }

    def prompt(self, tokens: int) -> None:
        """A prompt has been read."""
        self._prompt_tokens.inc(tokens)

    def first_token(self, seconds: float) -> None:
        """The first token of an answer came so long after its request."""
        self._generation_tokens.inc()
        self._first_token.observe(seconds)

    def next_token(self, seconds: float) -> None:
        """Another token came so long after the one in front."""
        self._generation_tokens.inc()
        self._next_token.observe(seconds)

    def finished(self, reason: str, seconds: float) -> None:
        """An answer has ended so long after its request."""
        self._finished[reason].inc()
        if reason in ("stop", "length"):
            self._whole.observe(seconds)


class SharedMetrics:
    """The registry of a server and the metrics that its models share, told apart by a label."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts that were read.")
        self.generation_tokens = self._counter("generation_tokens", "Tokens that were generated.")
        finished = ("groundup:request_success", "Answers that ended, by reason.", (*LABEL, "finished_reason"))
        self.finished = Counter(*finished, registry=self.registry)
        self.first_token = self._histogram(
            "time_to_first_token", "From a request to its first token.", FIRST_TOKEN_SECONDS
        )
        self.next_token = self._histogram("inter_token_latency", "Between two tokens of an answer.", NEXT_TOKEN_SECONDS)
        self.whole = self._histogram("e2e_request_latency", "From a request to its last token.", WHOLE_SECONDS)

    def watch(self, workers: Mapping[str, "GenerationWorker"]) -> None:
        """Report what runs and waits in these lines, by model, whenever somebody asks."""
        self.registry.register(_LoadCollector(workers))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"groundup:{name}", help_text, LABEL, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"groundup:{name}_seconds", help_text, LABEL, buckets=buckets, registry=self.registry)


class _LoadCollector(Collector):
    """Reads the lines and the engines when it is asked, so that no value is old."""

    def __init__(self, workers: Mapping[str, "GenerationWorker"]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        running = _gauge("num_requests_running", "Requests in the engine.")
        waiting = _gauge("num_requests_waiting", "Requests that wait in line, or in the engine for memory.")
        usage = _gauge("kv_cache_usage_perc", "Share of the blocks of keys and values that are held; 1 is full.")
        again = "How often a request gave its blocks up and was computed again."
        preemptions = CounterMetricFamily("groundup:num_preemptions", again, labels=LABEL)
        for name, worker in self._workers.items():
            load, line = worker.generator.load, worker.load
            running.add_metric([name], load.running)
            waiting.add_metric([name], load.waiting + line["waiting"])
            usage.add_metric([name], load.cache_usage)
            preemptions.add_metric([name], load.preemptions)
        return [running, waiting, usage, preemptions]

    def describe(self) -> Iterable[Metric]:
        return []  # nothing is collected before the first model is there


def _gauge(name: str, help_text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"groundup:{name}", help_text, labels=LABEL)
