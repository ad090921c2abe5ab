"""The same weights give the same logits, loss and gradients in Hugging Face transformers: Llama and Qwen3."""

from typing import Any

import pytest
import torch
from tiny_decoders import tiny_decoder, tiny_tokens
from torch import nn

from groundup.models.decoder import Decoder

transformers = pytest.importorskip("transformers")

OURS_TO_THEIRS = {
    "embedding": "model.embed_tokens.weight",
    "unembedding": "lm_head.weight",
    "final_gain": "model.norm.weight",
    "attention.query": "self_attn.q_proj.weight",
    "attention.key": "self_attn.k_proj.weight",
    "attention.value": "self_attn.v_proj.weight",
    "attention.output": "self_attn.o_proj.weight",
    "attention.query_gain": "self_attn.q_norm.weight",
    "attention.key_gain": "self_attn.k_norm.weight",
    "attention_gain": "input_layernorm.weight",
    "mlp_gain": "post_attention_layernorm.weight",
    "mlp.gate": "mlp.gate_proj.weight",
    "mlp.up": "mlp.up_proj.weight",
    "mlp.down": "mlp.down_proj.weight",
}
SHAPES = [{}, {"num_kv_heads": 4}, {"num_kv_heads": 1, "depth": 3}, {"tie_embeddings": True}]


def their_name(name: str) -> str:
    if name.startswith("blocks."):
        _, layer, rest = name.split(".", 2)
        return f"model.layers.{layer}.{OURS_TO_THEIRS[rest]}"
    return OURS_TO_THEIRS[name]


def twin(decoder: Decoder) -> nn.Module:
    """Llama without, Qwen3 with norms of queries and keys, holding our weights."""
    config = decoder.config
    shape: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "tie_word_embeddings": config.tie_embeddings,
        "attn_implementation": "eager",
    }
    name = "Qwen3" if config.qk_norm else "Llama"
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**shape))
    weights = {their_name(name): parameter.detach() for name, parameter in decoder.named_parameters()}
    if config.tie_embeddings:
        weights["lm_head.weight"] = decoder.embedding.detach()
    model.load_state_dict(weights, strict=True)
    return model.eval()


@pytest.mark.parametrize("qk_norm", [False, True], ids=["Llama", "Qwen3"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_loss_and_gradients_agree(shape: dict[str, Any], qk_norm: bool) -> None:
    ours = tiny_decoder(**shape, qk_norm=qk_norm)
    theirs = twin(ours)
    tokens_BT = tiny_tokens(3, 33)
    answer = theirs(tokens_BT, labels=tokens_BT)
    torch.testing.assert_close(ours.unembed(ours(tokens_BT)), answer.logits, atol=1e-4, rtol=0)
    loss = ours.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean()
    torch.testing.assert_close(loss, answer.loss, atol=1e-5, rtol=0)
    loss.backward()
    answer.loss.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[their_name(name)], atol=1e-5, rtol=1e-4)
