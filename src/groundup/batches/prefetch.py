"""The next batches, read in a thread while the model computes; to a GPU they go through pinned memory.

Batches are a function of the step, so nothing can get out of order: what was not read ahead is read when asked for.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from groundup.batches.batch import Batch, BatchSource

Key = tuple[int, int, int]  # step, shard, shards


class Prefetch:
    """The batches of a source, `depth` of them ahead; on `device` where one is given. Use it in a `with` block.

    What a batch raises is raised where it is asked for, not before.
    """

    def __init__(self, source: BatchSource, depth: int = 2, device: torch.device | None = None) -> None:
        self.source = source
        self.depth = depth
        self.device = device
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._ahead: dict[Key, Future[Batch]] = {}

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        """The batch of the source; those of the next steps are begun."""
        following = [(step + ahead, shard, shards) for ahead in range(self.depth + 1)]
        for key in self._ahead.keys() - set(following):  # a jump: what was read for another place is let go
            self._ahead.pop(key).cancel()
        for key in following:
            if key not in self._ahead:
                self._ahead[key] = self._pool.submit(self._read, key)
        batch = self._ahead.pop((step, shard, shards)).result()
        return batch if self.device is None else batch.map(_to(self.device))

    def close(self) -> None:
        """End the thread, after the batch that it is reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, key: Key) -> Batch:
        batch = self.source.batch(*key)
        to_gpu = self.device is not None and self.device.type == "cuda"
        return batch.map(Tensor.pin_memory) if to_gpu else batch  # only from pinned memory is a copy asynchronous


def _to(device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.to(device, non_blocking=True)
