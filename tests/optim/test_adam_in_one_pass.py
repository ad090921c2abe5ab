"""Adam's update in one pass is the one in single operations, up to rounding, and takes up their state."""

import copy
import shutil

import pytest
import torch

from groundup.optim.adam import Adam, adam_in_one_pass
from groundup.optim.adamw import AdamW

SHAPES, STEPS = [(70, 33), (33,), (3, 5, 7)], 60


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).bfloat16()) for shape in SHAPES]


def train(optimizer: Adam, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 + step % 3)  # as a schedule does
            for parameter in group["params"]:
                gradient = 10.0 ** -(step % 7) * torch.randn(parameter.shape, generator=generator) * (step % 5 > 0)
                parameter.grad = gradient.bfloat16()
        optimizer.step()


def assert_same(one: Adam, other: Adam) -> None:
    for mine, theirs in zip(one.param_groups[0]["params"], other.param_groups[0]["params"], strict=True):
        for name in ("master", "mean", "mean_square"):
            torch.testing.assert_close(one.state[mine][name], other.state[theirs][name], atol=1e-6, rtol=1e-5)
        assert one.state[mine]["step"] == other.state[theirs]["step"]
        assert torch.equal(mine, one.state[mine]["master"].bfloat16())


@pytest.mark.parametrize(("kind", "decay"), [(AdamW, 0.1), (AdamW, 0.0), (Adam, 0.0), (Adam, 0.1)])
@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.0, 0.999)])
def test_it_is_the_update_in_single_operations(
    kind: type[Adam], decay: float, betas: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, fused = (kind(parameters(), 0.01, betas, weight_decay=decay) for _ in range(2))
    calls = []

    def one_pass(*tensors: torch.Tensor) -> None:
        calls.append(len(tensors))
        adam_in_one_pass(*tensors)

    fused.one_pass = one_pass
    train(plain, range(STEPS // 2))
    fused.load_state_dict(copy.deepcopy(plain.state_dict()))
    for mine, theirs in zip(fused.param_groups[0]["params"], plain.param_groups[0]["params"], strict=True):
        mine.data.copy_(theirs)
        fused.state[mine]["master"] = plain.state[theirs]["master"].clone()  # `load_state_dict` rounds to bf16
        for name in ("mean", "mean_square"):
            fused.state[mine][name] = plain.state[theirs][name].clone()
    train(plain, range(STEPS // 2, STEPS))
    train(fused, range(STEPS // 2, STEPS))
    assert_same(fused, plain)
    coupled = kind is Adam and decay > 0  # its decay would enter the moments
    assert len(calls) == (0 if coupled else len(SHAPES) * STEPS // 2)


def test_fp32_parameters_have_no_master_and_go_the_plain_way() -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = AdamW([parameter], 0.1)
    optimizer.one_pass = lambda *_: pytest.fail("it writes to a master")
    parameter.grad = torch.ones(4)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((4,), 0.9))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
def test_compiled_it_is_the_same() -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")
    plain, fused = (AdamW(parameters(), 0.01, weight_decay=0.1) for _ in range(2))
    fused.one_pass = torch.compile(adam_in_one_pass, dynamic=True)
    for optimizer in (plain, fused):
        train(optimizer, range(STEPS))
    assert_same(fused, plain)
