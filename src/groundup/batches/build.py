"""From streams of tokens and a config to the batches of a training."""

from collections.abc import Callable, Mapping

from groundup.batches.batch import Batches, Examples
from groundup.batches.config import CORPUS, DataConfig
from groundup.batches.mixture import Mixture
from groundup.batches.packing import PackedDocuments
from groundup.batches.token_stream import TokenStream
from groundup.batches.windows import Windows
from groundup.core.logging import get_logger
from groundup.core.seeds import derive_seed

logger = get_logger(__name__)


def training_batches(
    config: DataConfig,
    streams: Mapping[str, TokenStream],
    batch_size: int | Callable[[int], int],
    context_length: int,
    seed: int,
    steps: int,
) -> Batches:
    """The batches that a config asks for, of one stream for "corpus" and for each of its sources.

    `batch_size` is that of `Batches`; `steps` decide when weights change, and nothing else.
    """
    if not config.sources:
        return Batches(_examples(config, CORPUS, streams[CORPUS], context_length, seed), batch_size)
    parts = {
        name: _examples(config, name, stream, context_length, derive_seed("source", name, seed))
        for name, stream in streams.items()
    }
    rows_before = (lambda step: step * batch_size) if isinstance(batch_size, int) else batch_size
    return Batches(Mixture(parts, config.phases(), rows_before(steps), seed), rows_before)


def _examples(config: DataConfig, name: str, stream: TokenStream, context_length: int, seed: int) -> Examples:
    if config.packing == "windows":
        return Windows(stream, context_length, seed)
    packed = PackedDocuments(stream, context_length, seed)
    logger.info(
        "%s: %s documents and parts of long ones in %s rows of %d tokens, %.1f %% filled",
        name,
        f"{len(packed.starts):,}",
        f"{packed.rows_per_epoch:,}",
        context_length,
        100 * packed.utilisation,
    )
    return packed
