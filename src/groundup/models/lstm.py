"""An LSTM language model: what language models were before attention, as the baseline of scaling comparisons.

    i, f, g, o = W x_t + R h_{t-1} + b, in four        (input, forget and output gate; g the candidate)
    c_t = σ(f) c_{t-1} + σ(i) tanh(g)                  h_t = σ(o) tanh(c_t)

Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. Layers are stacked, the output of one is the
input of the next, with dropout on these connections only, so that what is remembered passes it depth + 1 times however
far it is carried (Zaremba et al. 2014, arXiv:1409.2329, section 3). The bias of the forget gate starts at 1, so that a
fresh model remembers (Jozefowicz et al. 2015). One table may serve as embedding and unembedding (Press & Wolf 2017,
arXiv:1608.05859); embeddings are then multiplied by √D, as in Vaswani et al. 2017, arXiv:1706.03762, section 3.4,
because what is large enough for logits is too small for gates, and there is no norm in front of them.

W x_t is computed for all times at once; only R h_{t-1} and what is elementwise wait for the time before. That leaves T
small products one after another: of a decoder's FLOPs none have to wait so.

B batch, T time, D width, G the four gates side by side (4 D), V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from groundup.models.cache import KVCache, LayerCache, StateCache
from groundup.models.language_model import LanguageModel, positions_from_zero
from groundup.models.layers import affine, dropout
from groundup.models.lstm_config import LstmConfig
from groundup.models.positions import document_starts

FORGET_BIAS = 1.0


class Lstm(LanguageModel):
    """Hidden states of tokens; `unembed` turns them into logits, `token_losses` into negative log-likelihoods."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.layers = nn.ModuleList(LstmLayer(config.width) for _ in range(config.depth))
        if not config.tie_embeddings:
            self.unembedding = nn.Parameter(torch.empty(config.vocab_size, config.width))

    def forward(self, tokens_BT: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Hidden states (B, T, D) of the last layer. Positions as in `Decoder.forward`; an LSTM only asks of them where
        documents begin and what is padding."""
        if positions is None:
            positions = positions_from_zero(tokens_BT, cache)
        scale = math.sqrt(self.config.width) if self.config.tie_embeddings else 1
        x_BTD = self._dropout(self.embedding[tokens_BT] * scale)
        for place, layer in enumerate(self.layers):
            x_BTD = self._dropout(layer(x_BTD, positions, cache.layers[place] if cache is not None else None))
        return x_BTD

    def _dropout(self, x_BTD: Tensor) -> Tensor:
        return dropout(x_BTD, self.config.dropout, self.training)

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """Empty states for so many rows; they hold any number of positions."""
        shape, device = (batch, 2, self.config.width), self.embedding.device
        return KVCache([StateCache(torch.zeros(shape, device=device)) for _ in self.layers])


class LstmLayer(nn.Module):
    """The weights of one layer, a matrix for each of i, f, g and o, in this order."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(4, width, width))
        self.recurrent = nn.Parameter(torch.empty(4, width, width))
        bias_G = torch.zeros(4 * width)
        bias_G[width : 2 * width] = FORGET_BIAS
        self.bias = nn.Parameter(bias_G)

    def forward(self, x_BTD: Tensor, positions: Tensor, cache: LayerCache | None) -> Tensor:
        weights = self.input.flatten(0, 1), self.recurrent.flatten(0, 1), self.bias
        if cache is None:
            return lstm(x_BTD, *weights, starts_BT=document_starts(positions))[0]
        assert isinstance(cache, StateCache)
        positions_BT = positions.expand(x_BTD.shape[:2])
        y_BTD, cache.state = lstm(x_BTD, *weights, cache.state, positions_BT == 0, positions_BT < 0)
        return y_BTD


def lstm(
    x_BTD: Tensor,
    input_GD: Tensor,
    recurrent_GD: Tensor,
    bias_G: Tensor,
    state_B2D: Tensor | None = None,
    starts_BT: Tensor | None = None,
    padding_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All h_t, (B, T, D), from a state (h, c) or from 0, and the last state, fp32.

    Where `starts_BT`, both are 0 before the token; where `padding_BT`, the token changes neither. The cell is fp32,
    since it is a sum over time, to which bf16 could add no less than 1/256 of what is there.
    """
    zero_B2D = torch.zeros(len(x_BTD), 2, x_BTD.shape[2], device=x_BTD.device)
    h_BD, c_BD = (zero_B2D if state_B2D is None else state_B2D).unbind(dim=1)
    h_BD, outputs = h_BD.to(x_BTD.dtype), []
    for time, inputs_BG in enumerate(affine(x_BTD, input_GD, bias_G).unbind(dim=1)):
        if starts_BT is not None:
            start_B1 = starts_BT[:, time, None]
            h_BD, c_BD = h_BD.masked_fill(start_B1, 0), c_BD.masked_fill(start_B1, 0)
        next_h_BD, next_c_BD = lstm_step((inputs_BG + affine(h_BD, recurrent_GD)).float(), c_BD)
        next_h_BD = next_h_BD.to(x_BTD.dtype)
        if padding_BT is not None:
            padding_B1 = padding_BT[:, time, None]
            next_h_BD = torch.where(padding_B1, h_BD, next_h_BD)
            next_c_BD = torch.where(padding_B1, c_BD, next_c_BD)
        h_BD, c_BD = next_h_BD, next_c_BD
        outputs.append(h_BD)
    return torch.stack(outputs, dim=1), torch.stack((h_BD.float(), c_BD), dim=1)


def lstm_step(gates_BG: Tensor, c_BD: Tensor) -> tuple[Tensor, Tensor]:
    """The next h and c from the sums in front of the gates."""
    i_BD, f_BD, g_BD, o_BD = gates_BG.chunk(4, dim=-1)
    c_BD = torch.sigmoid(f_BD) * c_BD + torch.sigmoid(i_BD) * torch.tanh(g_BD)
    return torch.sigmoid(o_BD) * torch.tanh(c_BD), c_BD
