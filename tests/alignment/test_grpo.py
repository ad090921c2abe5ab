"""GRPO as a loop: deterministic rollouts, exact ratios, rewards that mean what they say, and a policy that learns."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groundup.alignment import grpo as grpo_module
from groundup.alignment.config import GrpoConfig
from groundup.alignment.grpo import grpo, learn, reward, roll_out, token_logprobs
from groundup.checkpoint.store import read_checkpoint
from groundup.core.errors import ConfigError
from groundup.evaluation.answering import answer_request
from groundup.evaluation.instructions import Instruction, split_of
from groundup.inference.requests import Completion
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedule_config import Constant
from groundup.training.state import TrainState

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import BYTES, tiny_engine

CONFIG = GrpoConfig(steps=2, prompts=4, group_size=3, max_tokens=6)
OPTIMIZER = OptimizerConfig(
    learning_rate=5e-3,
    embedding_learning_rate=1e-2,
    matrix_learning_rate=5e-3,
    weight_decay=0.0,
    schedule=Constant(),
    warmup_steps=0,
)


def state_of(engine, dtype=torch.float32):
    state = TrainState(engine.model.config, OPTIMIZER, dtype, seed=0)
    state._adopt(dict(engine.model.named_parameters()), OPTIMIZER, dtype)
    return state


@pytest.fixture
def engine():
    return tiny_engine(sharpness=8)


def test_a_rollout_is_a_function_of_seed_step_and_weights(engine):
    first, again = (roll_out(engine, CONFIG, 0, 3) for _ in range(2))
    assert first.completions == again.completions
    assert torch.equal(first.batch.tokens_BT, again.batch.tokens_BT)
    for seed, step, other in ((1, 3, engine), (0, 4, engine), (0, 3, tiny_engine(9, sharpness=8))):
        assert roll_out(other, CONFIG, seed, step).completions != first.completions
    answers = [completion.ids for completion in first.completions]
    assert len(set(answers[:3])) > 1, "answers to one prompt must differ"


def test_a_rollouts_batch_weighs_the_answers_tokens(engine, monkeypatch):
    asked = []
    monkeypatch.setattr(grpo_module, "answer_request", lambda e, x, s: asked.append(x) or answer_request(e, x, s))
    rollout = roll_out(engine, CONFIG, 0, 0)
    assert rollout.rewards_PG.shape == (4, 3)
    assert [asked[p * 3] for p in range(4)] == [asked[p * 3 + 2] for p in range(4)]
    assert {split_of(example) for example in asked} == {"train"}
    for row, completion in enumerate(rollout.completions):
        weighted = rollout.batch.targets_BT[row][rollout.batch.weights_BT[row] == 1]
        assert tuple(weighted.tolist()) == completion.ids


def test_recomputed_logprobs_are_the_engines(engine):
    rollout = roll_out(engine, CONFIG, 0, 0)
    logprobs = token_logprobs(engine.model, rollout.batch).detach()
    for row, completion in enumerate(rollout.completions):
        found = logprobs[row][rollout.batch.weights_BT[row] == 1]
        assert found.tolist() == pytest.approx(list(completion.logprobs), abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("updates", [1, 2, 4])
def test_the_ratio_is_exactly_one_where_nothing_has_changed(dtype, updates, monkeypatch):
    state = state_of(tiny_engine(sharpness=8), dtype)
    ratios = []
    clipped = grpo_module.clipped_losses

    def seen(*given):
        losses, ratios_BT = clipped(*given)
        ratios.append(ratios_BT.detach().clone())
        return losses, ratios_BT

    monkeypatch.setattr(grpo_module, "clipped_losses", seen)
    config = replace(CONFIG, updates=updates)
    rollout = roll_out(grpo_module.Engine(state.model, BYTES), config, 0, 0)
    advantages = torch.linspace(-1, 1, 12)
    metrics = learn(state, rollout.batch, advantages, config, OPTIMIZER, 100)
    assert len(ratios) == updates == state.step
    assert torch.equal(ratios[0], torch.ones_like(ratios[0]))
    assert all((later != 1).any() for later in ratios[1:]), "later updates are off the policy that sampled"
    if updates == 1:
        assert (metrics["ratio_max"], metrics["kl"], metrics["clip_fraction_low"]) == (1.0, 0.0, 0.0)


def test_the_exact_reward_wants_the_right_answer_and_an_end():
    example = Instruction("copy", "Copy 12.", "12")
    ended, cut = Completion((1,), "12", (0.0,), "stop"), Completion((1,), "12", (0.0,), "length")
    assert reward("exact", example, ended, 0) == 1.0
    assert reward("exact", example, cut, 0) == 0.0
    assert reward("exact", example, replace(ended, text="13"), 0) == 0.0


def test_the_random_reward_is_a_fair_coin_that_ignores_the_answer():
    examples = [Instruction("copy", "Copy 12.", "12"), Instruction("add", "Add 1 and 2.", "3")]
    answers = [Completion((1,), "12", (0.0,), "stop"), Completion((2, 3), "no", (0.0, 0.0), "length")]
    tosses = []
    for seed in range(2000):
        values = {reward("random", example, answer, seed) for example in examples for answer in answers}
        assert len(values) == 1
        tosses += values
    assert abs(sum(tosses) / 2000 - 0.5) < 4 * 0.5 / 2000**0.5


def test_a_rewarded_answer_becomes_likelier(engine, monkeypatch):
    """A bandit: answers of one token, of which those below 32 are rewarded."""
    monkeypatch.setattr(grpo_module, "reward", lambda kind, example, completion, seed: float(completion.ids[0] < 32))
    config = GrpoConfig(steps=30, prompts=8, group_size=8, max_tokens=1)
    ticks = list(grpo(state_of(engine), BYTES, config, OPTIMIZER, seed=0))
    rewards = [tick.metrics["reward"] for tick in ticks]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.4
    assert ticks[-1].metrics["entropy"] < ticks[0].metrics["entropy"]
    assert [tick.step for tick in ticks] == list(range(1, 31))
    assert {tick.metrics["length_mean"] for tick in ticks} == {1.0}


def test_equal_rewards_teach_nothing(engine, monkeypatch):
    monkeypatch.setattr(grpo_module, "reward", lambda *_: 1.0)
    state = state_of(engine)
    before = {name: weight.clone() for name, weight in state.weights().items()}
    (tick,) = list(grpo(state, BYTES, replace(CONFIG, steps=1), OPTIMIZER, seed=0))
    assert tick.metrics["zero_std_fraction"] == 1.0
    assert tick.metrics["gradient_norm"] == 0.0
    assert all(torch.equal(before[name], weight) for name, weight in state.weights().items())


def test_stopping_and_going_on_is_the_same_as_going_through(engine, tmp_path):
    config = replace(CONFIG, steps=4, updates=2, reward="random")
    through = state_of(engine)
    logged = [tick.metrics for tick in grpo(through, BYTES, config, OPTIMIZER, seed=0)]
    BYTES.save(tmp_path / "tokenizer")
    broken = state_of(engine)
    ticks = grpo(broken, BYTES, config, OPTIMIZER, seed=0)
    next(ticks), next(ticks)
    saved = read_checkpoint(broken.save(tmp_path / "checkpoints", tmp_path / "tokenizer", {}))
    resumed = TrainState.resumed(saved, OPTIMIZER, torch.float32)
    assert [tick.metrics for tick in grpo(resumed, BYTES, config, OPTIMIZER, seed=0)] == logged[2:]
    for name, weight in through.weights().items():
        assert torch.equal(resumed.weights()[name], weight)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"group_size": 1}, "at least 2 answers"),
        ({"prompts": 6, "updates": 4}, "multiple of updates"),
        ({"aggregation": "mean"}, "aggregation is 'mean'"),
        ({"reward": "format"}, "reward is 'format'"),
    ],
)
def test_settings_that_cannot_work(wrong, words):
    with pytest.raises(ConfigError, match=words):
        GrpoConfig(**wrong)


@pytest.mark.parametrize("aggregation", ["grpo", "dapo", "dr_grpo"])
@pytest.mark.parametrize("updates", [1, 2])
def test_leaving_out_rows_without_advantage_changes_no_gradient(aggregation, updates):
    config = replace(CONFIG, aggregation=aggregation, updates=updates)
    engine = tiny_engine(sharpness=8)
    batch = roll_out(engine, config, 0, 0).batch
    advantages_B = torch.tensor([0.0, 0, 0, 1, -0.5, -0.5, 0, 0, 0, 2, -1, -1])

    def gradient(part, part_advantages_B, weight):
        engine.model.zero_grad()
        logprobs_BT = token_logprobs(engine.model, part)
        losses_BT, _ = grpo_module.clipped_losses(logprobs_BT, logprobs_BT.detach(), part_advantages_B, 0.2, 0.2)
        (weight * grpo_module.aggregate(losses_BT, part.weights_BT, aggregation, config.max_tokens)).backward()
        return torch.cat([p.grad.flatten() for p in engine.model.parameters() if p.grad is not None])

    shares = grpo_module.informative_shares(batch, advantages_B, config)
    assert sum(len(part.tokens_BT) for part, _, _ in shares) == 6
    for rows, share in zip(torch.arange(12).chunk(updates), shares, strict=True):
        whole = batch.map(lambda tensor, rows=rows: tensor[rows])
        torch.testing.assert_close(gradient(*share), gradient(whole, advantages_B[rows], 1.0), atol=1e-6, rtol=1e-5)


def test_a_share_of_equal_rewards_moves_nothing():
    config = replace(CONFIG, updates=1)
    engine = tiny_engine(sharpness=8)
    batch = roll_out(engine, config, 0, 0).batch
    [(part, advantages, weight)] = grpo_module.informative_shares(batch, torch.zeros(12), config)
    assert len(part.tokens_BT) == 1
    assert advantages.tolist() == [0.0]
    assert 0 < weight < 1
