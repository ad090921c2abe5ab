"""Multi-token prediction: layers that predict the tokens after the next one, in training only (DeepSeek-V3,
arXiv:2412.19437, section 2.2, eq. 21-25).

    h⁰ = the decoder's hidden states;  hᵏ_i = block(W [norm(hᵏ⁻¹_i); norm(embedding of token i+k)])

hᵏ_i predicts token i+k+1 with the decoder's own unembedding. The heads make hidden states hold more of what follows;
generation leaves them out.

B batch, T time, D width.
"""

import torch
from torch import Tensor, nn

from groundup.models.config import DecoderConfig
from groundup.models.layers import affine
from groundup.models.normalization import Normalization
from groundup.models.stack import block_of


class PredictionHead(nn.Module):
    """One more token ahead: joins a hidden state with the token that came, in a layer like the decoder's last."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.hidden_norm = Normalization(config.norm, config.width)
        self.token_norm = Normalization(config.norm, config.width)
        self.join = nn.Parameter(torch.empty(config.width, 2 * config.width))
        self.block = block_of(config.all_layers[-1], config, [])
        self.final_norm = Normalization(config.norm, config.width)

    def forward(self, hidden_BTD: Tensor, tokens_BTD: Tensor, positions: Tensor) -> Tensor:
        """hᵏ from hᵏ⁻¹ and the embeddings of the tokens k places on."""
        joined_BTD = torch.cat((self.hidden_norm(hidden_BTD), self.token_norm(tokens_BTD)), dim=-1)
        return self.block(affine(joined_BTD, self.join), positions, None)
