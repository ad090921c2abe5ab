"""A mixture of experts: many gated MLPs of which each token passes a few (Shazeer et al. 2017, arXiv:1701.06538).

    s = softmax(R x) or σ(R x)                         scores of the experts for a token, R the router
    chosen = the experts with the best s + b           b is a bias that only choosing sees
    y = Σ_{e chosen} w_e MLP_e(x) + MLP_shared(x)      w = s, or s / Σ_chosen s, times a scale

Parameters grow with the number of experts, work with the number chosen. No token is ever dropped ("dropless", as in
MegaBlocks, arXiv:2211.15841): experts work on slices of any length.

Routing "tokens": a token chooses its experts, so its result depends on nothing but itself, and training has to keep the
load even (`balance_loss`, or the bias b). Routing "experts" (Zhou et al. 2022, arXiv:2202.09368): an expert takes the
tokens of a row that score best. That balances itself, but it is not causal: whether a token is taken depends on later
tokens too, and on the other documents packed into its row. Losses measured on whole rows therefore look ahead, and
generation token by token cannot repeat what training saw, so a cache is refused. The paper's experts choose among all
tokens of a batch; here each row is on its own, so that its result does not depend on its neighbours.

B batch, T time, `...` any such leading shape, N tokens, D width, F hidden width of an expert, E experts, A assignments
(pairs of a token and an expert), S those of one expert.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from groundup.core.errors import ConfigError
from groundup.kernels.exact import exact
from groundup.models import mixer_config
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig
from groundup.models.layers import affine, gated

TINY = 1e-20  # beside a sum of scores: a token that no expert took has a sum of 0
BEST_OF_GROUP = 2  # experts by whose scores a group is judged


class MixtureOfExperts(nn.Module):
    """Router, experts, and the shared MLP if there is one.

    A forward in training leaves `auxiliary_loss` (a scalar to add to the loss, already weighted) and `expert_counts_E`
    (tokens of each expert), for the training loop to read before the next forward replaces them.
    """

    balance_bias: Tensor | None

    def __init__(self, config: mixer_config.MixtureOfExperts, decoder: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        D, E, F, shared = decoder.width, config.num_experts, config.hidden(decoder.width), config.shared_width
        self.router = nn.Parameter(torch.empty(E, D))
        self.gate = nn.Parameter(torch.empty(E, F, D))
        self.up = nn.Parameter(torch.empty(E, F, D))
        self.down = nn.Parameter(torch.empty(E, D, F))
        if shared:
            self.shared_gate = nn.Parameter(torch.empty(shared, D))
            self.shared_up = nn.Parameter(torch.empty(shared, D))
            self.shared_down = nn.Parameter(torch.empty(D, shared))
        self.register_buffer("balance_bias", torch.zeros(E) if config.balance_bias_rate else None)
        self.auxiliary_loss: Tensor | None = None
        self.expert_counts_E: Tensor | None = None

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        config = self.config
        # fp32, as in Switch Transformer (section 2.4): rounded to bf16, close scores tie and another expert is chosen.
        logits_BTE = exact(affine)(x_BTD.float(), self.router.float())
        scores_BTE = scores(logits_BTE, config.gate)
        if config.routing == "tokens":
            chosen_BTE = choose_experts(
                scores_BTE, config.experts_per_token, self.balance_bias, config.groups, config.groups_per_token
            )
        elif cache is None:
            chosen_BTE = choose_tokens(scores_BTE, config.experts_per_token)
        else:
            raise ConfigError(
                'Experts with routing "experts" choose among all tokens of a row, so such a decoder cannot generate '
                'token by token; train it with routing "tokens" for that.'
            )
        weights_BTE = choice_weights(scores_BTE, chosen_BTE, config.normalize, config.scale)
        x_ND, weights_NE, chosen_NE = (each.flatten(0, 1) for each in (x_BTD, weights_BTE, chosen_BTE))
        y_ND = dispatch(x_ND, weights_NE, chosen_NE, self.gate, self.up, self.down, config.activation)
        if self.training:
            self.expert_counts_E = chosen_NE.sum(dim=0)
            self.auxiliary_loss = self._auxiliary_loss(logits_BTE, scores_BTE, chosen_BTE)
        y_BTD = y_ND.view_as(x_BTD)
        if config.shared_width:
            y_BTD = y_BTD + gated(x_BTD, self.shared_gate, self.shared_up, self.shared_down, config.activation)
        return y_BTD

    def _auxiliary_loss(self, logits_BTE: Tensor, scores_BTE: Tensor, chosen_BTE: Tensor) -> Tensor:
        loss = logits_BTE.new_zeros(())
        if self.config.balance_loss:
            loss = loss + balance_loss(scores_BTE, chosen_BTE, self.config.balance_loss)
        if self.config.router_z_loss:
            loss = loss + router_z_loss(logits_BTE, self.config.router_z_loss)
        return loss

    @torch.no_grad()
    def update_balance_bias(self) -> None:
        """Once after each optimizer step: b_e += rate · sign(mean load - load of e), by the counts of the last training
        forward (Wang et al. 2024, arXiv:2408.15664, algorithm 1). Without a bias it does nothing.

        Where a step has several forwards or ranks, put the sum of their counts into `expert_counts_E` first.
        """
        if self.balance_bias is None:
            return
        assert self.expert_counts_E is not None, "the bias is moved by the counts of a training forward"
        counts_E = self.expert_counts_E
        below_E = torch.sign(counts_E.sum() - len(counts_E) * counts_E)  # in integers, so that the mean is met exactly
        self.balance_bias += self.config.balance_bias_rate * below_E

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "MixtureOfExperts":
        """The bias stays in fp32 when the module changes its dtype: in bf16, steps of 0.001 are lost from 0.5 on."""
        exact_E = self.balance_bias
        super()._apply(fn, recurse)
        if exact_E is not None and self.balance_bias is not None:
            self.balance_bias = exact_E.to(self.balance_bias.device)
        return self


def scores(logits_E: Tensor, gate: str) -> Tensor:
    """Of all experts (..., E), fp32: "softmax" over them, or a "sigmoid" of each (DeepSeek-V3, arXiv:2412.19437)."""
    return torch.softmax(logits_E.float(), dim=-1) if gate == "softmax" else torch.sigmoid(logits_E.float())


@torch.no_grad()
def choose_experts(
    scores_E: Tensor, experts_per_token: int, bias_E: Tensor | None = None, groups: int = 1, groups_per_token: int = 1
) -> Tensor:
    """Which experts (..., E) each token passes: those with the best score + bias, as many as `experts_per_token`.

    With `groups` > 1 only those of the token's best `groups_per_token` groups of neighbouring experts, where a group is
    as good as the sum of its best two (DeepSeek-V3, arXiv:2412.19437, section 2.1.2).
    """
    biased_E = scores_E if bias_E is None else scores_E + bias_E
    if groups > 1:
        members = biased_E.unflatten(-1, (groups, -1))
        best = members.topk(min(BEST_OF_GROUP, members.shape[-1]), dim=-1).values.sum(dim=-1)
        biased_E = members.masked_fill(~_largest(best, groups_per_token)[..., None], -math.inf).flatten(-2)
    return _largest(biased_E, experts_per_token)


@torch.no_grad()
def choose_tokens(scores_BTE: Tensor, experts_per_token: int) -> Tensor:
    """Which tokens each expert takes, (B, T, E): of every row the ⌈T k / E⌉ with the best scores, so that a token
    passes k = `experts_per_token` experts on average, and may pass none or all (arXiv:2202.09368, section 3.2)."""
    T, E = scores_BTE.shape[-2:]
    return _largest(scores_BTE.mT, math.ceil(T * experts_per_token / E)).mT


def _largest(values: Tensor, count: int) -> Tensor:
    """True where the `count` largest entries of the last axis are."""
    places = values.topk(count, dim=-1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, places, True)


def choice_weights(scores_E: Tensor, chosen_E: Tensor, normalize: bool, scale: float) -> Tensor:
    """What each expert's output is multiplied by, (..., E): its score without the bias, 0 where it was not chosen; with
    `normalize` a token's weights sum to 1; then times `scale`."""
    weights_E = scores_E * chosen_E
    return scale * (weights_E / (weights_E.sum(dim=-1, keepdim=True) + TINY) if normalize else weights_E)


def dispatch(
    x_ND: Tensor,
    weights_NE: Tensor,
    chosen_NE: Tensor,
    gate_EFD: Tensor,
    up_EFD: Tensor,
    down_EDF: Tensor,
    activation: str = "silu",
) -> Tensor:
    """Σ_e weight_e · MLP_e(x) over each token's chosen experts, (N, D).

    The assignments are sorted by expert, so that each expert works on one slice; as they lie in a matrix with a row for
    each expert, listing its nonzero entries already is that sort.
    """
    experts_A, tokens_A = chosen_NE.mT.nonzero(as_tuple=True)
    counts = chosen_NE.sum(dim=0).tolist()
    slices = x_ND.index_select(0, tokens_A).split(counts)
    places = zip(tokens_A.split(counts), weights_NE[tokens_A, experts_A, None].split(counts), strict=True)
    # unbind, not gate_EFD[e]: the gradient is made once, where E selections would fill an (E, F, D) with zeros each.
    experts = zip(gate_EFD.unbind(), up_EFD.unbind(), down_EDF.unbind(), strict=True)
    # fp32: the sum of a token's experts is rounded once.
    y_ND = torch.zeros(x_ND.shape, dtype=weights_NE.dtype, device=x_ND.device)
    for x_SD, (tokens_S, weights_S1), (gate_FD, up_FD, down_DF) in zip(slices, places, experts, strict=True):
        if len(tokens_S):
            y_ND.index_add_(0, tokens_S, gated(x_SD, gate_FD, up_FD, down_DF, activation) * weights_S1)
    return y_ND.to(x_ND.dtype)


def balance_loss(scores_E: Tensor, chosen_E: Tensor, alpha: float) -> Tensor:
    """α E Σ_e f_e P_e, a scalar; α when all experts are used alike (Fedus et al. 2021, arXiv:2101.03961, eq. 4-6).

    f_e is the expert's share of all assignments, a count without gradient, and P_e its mean share of a token's scores:
    the softmax itself, and for sigmoid scores those over their sum (arXiv:2412.19437, eq. 19).
    """
    E = scores_E.shape[-1]
    assignments_E = chosen_E.flatten(0, -2).sum(dim=0)
    share_E = scores_E / (scores_E.sum(dim=-1, keepdim=True) + TINY)
    return alpha * E * (assignments_E / assignments_E.sum() * share_E.flatten(0, -2).mean(dim=0)).sum()


def router_z_loss(logits_E: Tensor, coefficient: float) -> Tensor:
    """coefficient · mean over tokens of (log Σ_e exp logit_e)²: keeps logits small (Zoph et al. 2022, arXiv:2202.08906,
    eq. 5)."""
    return coefficient * torch.logsumexp(logits_E.float(), dim=-1).square().mean()
