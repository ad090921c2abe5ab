"""What ran is recorded, and a slower choice is said once."""

import logging

import pytest

from groundup.kernels import dispatch


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_chosen", {})


def test_the_latest_choice_is_kept_in_the_order_of_names() -> None:
    dispatch.record("b", "first")
    dispatch.record("b", "second")
    dispatch.record("a", "only")
    assert list(dispatch.chosen().items()) == [("a", "only"), ("b", "second")]


def test_a_slower_choice_is_said_once_and_again_after_a_change(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="groundup"):
        for _ in range(3):
            dispatch.warn_once("step", "eager", "no compiler.")
        assert [record.message for record in caplog.records] == ["step runs eager: no compiler."]
        dispatch.record("step", "compiled")
        dispatch.warn_once("step", "eager", "no compiler.")
    assert len(caplog.records) == 2
    assert dispatch.chosen() == {"step": "eager"}
