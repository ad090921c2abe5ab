"""From a config to optimizers: which parameter goes to which, in which group, and the norms of gradients."""

import difflib
import re

import torch
from torch import Tensor, nn

from groundup.core.errors import ConfigError
from groundup.optim import optimizer_config as kinds
from groundup.optim.adagrad import AdaGrad
from groundup.optim.adam import Adam
from groundup.optim.adamw import AdamW
from groundup.optim.config import OptimizerConfig, Rule
from groundup.optim.lion import Lion
from groundup.optim.muon import Muon
from groundup.optim.rmsprop import RmsProp
from groundup.optim.sgd import Sgd
from groundup.optim.soap import Soap

# Where the hidden matrices of a decoder, of the hierarchical one, and of an LSTM lie.
HIDDEN = ("blocks.", "prediction_heads.", "encoder_blocks.", "global_blocks.", "decoder_blocks.", "layers.")
MATRICES, EMBEDDING, REST = "matrices", "embedding", "rest"


def build_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """An optimizer for each kind that the config names, with a group for each role and each rule that changes it.

    Matrices of the layers go to `config.matrices`; embeddings, unembedding, convolutions and vectors to `config.rest`,
    without weight decay. A group has a `name` and the `peak_lr` that schedules take a fraction of. What a rule freezes
    needs no gradient any more; it stays in its group, because the optimizer owns its fp32 master.
    """
    named = list(model.named_parameters())
    tied = all(name != "unembedding" for name, _ in named)  # then the embedding is an output matrix, of small entries
    rates = {EMBEDDING: config.learning_rate if tied else config.embedding_learning_rate, REST: config.learning_rate}
    rule_of = matched_rules([name for name, _ in named], config.rules)
    groups: dict[kinds.Optimizer, dict[str, dict]] = {}
    for wanted in (MATRICES, EMBEDDING, REST):
        for name, parameter in named:
            if role(name, parameter) != wanted:
                continue
            rule = rule_of.get(name, Rule(""))
            optimizer = rule.optimizer or (config.matrices if wanted == MATRICES else config.rest)
            if isinstance(optimizer, kinds.Muon) and parameter.ndim < 2:
                raise ConfigError(f"The rule {rule.pattern!r} gives {name} to Muon, which takes matrices only.")
            rate = config.matrix_rate(optimizer) if wanted == MATRICES else rates[wanted]
            rate *= rule.learning_rate_factor
            decay = config.weight_decay if wanted == MATRICES else 0.0
            group = {
                "name": f"{wanted} {rule.pattern}".strip(),
                "params": [],
                "lr": rate,
                "peak_lr": rate,
                "weight_decay": decay if rule.weight_decay is None else rule.weight_decay,
            }
            groups.setdefault(optimizer, {}).setdefault(group["name"], group)["params"].append(parameter)
            if rule.frozen:
                parameter.requires_grad_(False)
    if not any(parameter.requires_grad for _, parameter in named):
        raise ConfigError("The rules freeze every parameter; leave one to train.")
    return [make(optimizer, list(members.values()), config.learning_rate) for optimizer, members in groups.items()]


def role(name: str, parameter: Tensor) -> str:
    """Which of the config's optimizers and learning rates a parameter has."""
    if is_matrix(name, parameter):
        return MATRICES
    return EMBEDDING if name in ("embedding", "ngrams.tables") else REST


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a hidden matrix or a stack of them, which maps activations to activations."""
    hidden = name.startswith(HIDDEN) or name in ("patch_input", "patch_output")
    return hidden and parameter.ndim >= 2 and not name.endswith("convolution")


def matched_rules(names: list[str], rules: tuple[Rule, ...]) -> dict[str, Rule]:
    """The first rule that matches, by parameter name; a rule that applies to none is an error."""
    found: dict[str, Rule] = {}
    for rule in rules:
        matching = [name for name in names if re.search(rule.pattern, name)]
        if not matching:
            plain = re.sub(r"[\\^$]", "", rule.pattern)
            nearest = ", ".join(difflib.get_close_matches(plain, names, n=3, cutoff=0))
            raise ConfigError(f"The rule {rule.pattern!r} matches no parameter; the nearest names are {nearest}.")
        if found.keys() >= set(matching):
            raise ConfigError(
                f"Every parameter that the rule {rule.pattern!r} matches has an earlier rule; move it forward or leave "
                "it out."
            )
        found = dict.fromkeys(matching, rule) | found
    return found


def make(kind: kinds.Optimizer, groups: list[dict], lr: float) -> torch.optim.Optimizer:
    """The optimizer that the data describes."""
    match kind:
        case kinds.Sgd():
            return Sgd(groups, lr, kind.momentum, kind.nesterov, kind.dampening)
        case kinds.AdaGrad():
            return AdaGrad(groups, lr, kind.epsilon)
        case kinds.RmsProp():
            return RmsProp(groups, lr, kind.decay, kind.epsilon, kind.momentum, kind.centered)
        case kinds.Adam():
            return Adam(groups, lr, (kind.beta1, kind.beta2), kind.epsilon)
        case kinds.AdamW():
            return AdamW(groups, lr, (kind.beta1, kind.beta2), kind.epsilon)
        case kinds.Lion():
            return Lion(groups, lr, (kind.beta1, kind.beta2))
        case kinds.Muon():
            return Muon(groups, lr, kind.momentum, iterations=kind.iterations)
        case kinds.Soap():
            betas, sides = (kind.beta1, kind.beta2), kind.largest_side
            return Soap(groups, lr, betas, kind.epsilon, frequency=kind.frequency, largest_side=sides)


def set_learning_rates(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """Set every group to a fraction of its peak learning rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * fraction


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float) -> float:
    """Scale all gradients by max_norm / (norm + 1e-6) if their global norm is larger; returns the norm before."""
    gradients: list[Tensor] = [p.grad for p in model.parameters() if p.grad is not None]
    norm = norm_of(gradients).item()
    if norm >= max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / (norm + 1e-6))
    return norm


@torch.no_grad()
def gradient_norms(optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
    """The norm of each group's gradients by the group's name; the root of the sum of their squares is the global norm.

    Ask before `clip_gradients`, which scales all of them alike.
    """
    norms = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            gradients = [p.grad for p in group["params"] if p.grad is not None]
            if gradients:
                norms[group["name"]] = norm_of(gradients)
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True)) if norms else {}


def norm_of(gradients: list[Tensor]) -> Tensor:
    """The norm of all of them together, fp32."""
    norms = torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in gradients])
    return torch.linalg.vector_norm(norms)
