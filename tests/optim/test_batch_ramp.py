"""The batch-size ramp: its golden values, and that rows add up."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.optim.batch_ramp import BatchRamp, batch_share, rows_at, rows_before

ramps = st.builds(
    BatchRamp, start=st.floats(0.01, 1), steps=st.integers(0, 50), shape=st.sampled_from(["linear", "doubling"])
)


def test_golden_values() -> None:
    line, doubling = BatchRamp(0.25, 6), BatchRamp(0.25, 6, "doubling")
    assert [batch_share(line, step) for step in (0, 2, 4, 6, 60)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [batch_share(doubling, step) for step in (0, 2, 3, 5, 6, 60)] == [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]
    assert [rows_at(line, step, 16, multiple=4) for step in (0, 2, 4, 6)] == [4, 8, 12, 16]
    assert [rows_at(line, step, 10, multiple=4) for step in (0, 4, 6)] == [4, 8, 10]
    assert batch_share(BatchRamp(), 0) == 1.0


@given(ramps, st.integers(1, 64), st.integers(1, 8))
def test_rows_only_grow_are_multiples_and_add_up(ramp: BatchRamp, batch_size: int, multiple: int) -> None:
    rows = [rows_at(ramp, step, batch_size, multiple) for step in range(ramp.steps + 5)]
    assert all(before <= behind for before, behind in pairwise(rows))
    assert rows[ramp.steps] == batch_size
    assert all(count % multiple == 0 or count == batch_size for count in rows)
    begins = [0, *accumulate(rows)]
    assert [rows_before(ramp, step, batch_size, multiple) for step in range(len(begins))] == begins


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": 0.0}, "start is 0.0; it must be above 0 and at most 1"),
        ({"start": float("nan")}, "start is nan"),
        ({"steps": -1}, "steps is -1; it must be 0"),
        ({"shape": "cubic"}, "shape is 'cubic'; choose 'linear' or 'doubling'"),
    ],
)
def test_impossible_ramps_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchRamp(**values)
