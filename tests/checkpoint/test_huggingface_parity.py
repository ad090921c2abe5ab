"""Hugging Face's models and ours: the same weights give the same logits and gradients, and survive both ways."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from groundup.accounting.decoder import parameters
from groundup.checkpoint.huggingface import read_huggingface, write_huggingface
from groundup.checkpoint.huggingface_families import explicit, family_of
from groundup.models.decoder import Decoder
from groundup.models.presets import PRESETS, preset

transformers = pytest.importorskip("transformers")

V, T = 61, 23
CONFIGS = {"gemma3_text": "Gemma3TextConfig", "gpt2": "GPT2Config"}
SHAPE = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
DEEPSEEK = {
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "n_group": 4,
    "topk_group": 2,
    "q_lora_rank": 24,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, tied, biases": ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama 3 positions": ("Llama", {"rope_parameters": LLAMA3, "head_dim": 16}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": 7}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "olmo2": ("Olmo2", {}),
    "gemma3": (
        "Gemma3",
        {
            "head_dim": 8,
            "sliding_window": 5,
            "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "tie_word_embeddings": True,
        },
    ),
    "gpt2": (
        "GPT2",
        {
            "n_embd": 32,
            "n_layer": 2,
            "n_head": 4,
            "n_positions": 64,
            "tie_word_embeddings": True,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
    "mixtral": ("Mixtral", {"num_local_experts": 6, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.0}),
    "deepseek v3": ("DeepseekV3", DEEPSEEK),
    "deepseek v3, yarn": (
        "DeepseekV3",
        {**DEEPSEEK, "q_lora_rank": None, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.8}},
    ),
}


def theirs(case: str) -> nn.Module:
    """A model of the family with weights that hide nothing: gains and biases off their initial values too."""
    name, changes = CASES[case]
    config_name, model_name = f"{name}Config", f"{name}ForCausalLM"
    if name == "Gemma3":
        config_name = "Gemma3TextConfig"
    if name == "GPT2":
        model_name = "GPT2LMHeadModel"
    shape = {
        key: SHAPE[key] for key in SHAPE if name != "GPT2" or key in ("vocab_size", "bos_token_id", "eos_token_id")
    }
    torch.manual_seed(0)
    config = getattr(transformers, config_name)(**{**shape, **changes, "attn_implementation": "eager"})
    model = getattr(transformers, model_name)(config)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.rand_like(parameter) * 0.5)
            elif "embed" in parameter_name or "wte" in parameter_name:
                parameter.normal_(0, 0.5)
            else:
                parameter.normal_(0, 0.2)
        for buffer_name, buffer in model.named_buffers():
            if "correction_bias" in buffer_name:
                buffer.normal_(0, 0.1)
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(3, V, (2, T), generator=torch.Generator().manual_seed(5))


cases = pytest.mark.parametrize("case", CASES)


@cases
def test_an_imported_model_gives_the_same_logits_and_gradients(case: str, tmp_path: Path) -> None:
    model = theirs(case)
    model.save_pretrained(tmp_path / "theirs")
    config, weights = read_huggingface(tmp_path / "theirs")
    ours = Decoder(config)
    ours.load_state_dict(weights)
    tokens_BT = tokens()
    answer = model(tokens_BT, labels=tokens_BT)
    torch.testing.assert_close(ours.unembed(ours(tokens_BT)), answer.logits, atol=1e-4, rtol=0)
    loss = ours.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean()
    torch.testing.assert_close(loss, answer.loss, atol=1e-4, rtol=0)
    loss.backward()
    answer.loss.backward()
    gradients = their_gradients(model, tmp_path, config)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-4, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def their_gradients(model: nn.Module, folder: Path, config: Any) -> dict[str, Tensor]:
    """Their gradients under our names: saved in the place of the weights and read as such."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    model.save_pretrained(folder / "gradients")
    _, found = read_huggingface(folder / "gradients")
    if config.placement == "double":  # the rule for Gemma's gains adds 1
        found = {name: tensor - 1 if name.endswith("gain") else tensor for name, tensor in found.items()}
    return found


@cases
def test_an_exported_model_loads_in_transformers(case: str, tmp_path: Path) -> None:
    theirs(case).save_pretrained(tmp_path / "theirs")
    config, weights = read_huggingface(tmp_path / "theirs")
    write_huggingface(config, weights, tmp_path / "ours")
    again_config, again = read_huggingface(tmp_path / "ours")
    assert explicit(again_config) == explicit(config)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    name = CASES[case][0]
    model_class = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")
    model, report = model_class.from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = Decoder(config)
    ours.load_state_dict(weights)
    with torch.no_grad():
        torch.testing.assert_close(ours.unembed(ours(tokens())), model.eval()(tokens()).logits, atol=1e-4, rtol=0)


def test_a_pattern_may_be_written_longer_than_it_is() -> None:
    """Near, far, near is what near, far makes at a depth of 3: a family's `config.json` cannot tell them apart."""
    gemma = preset("gemma3-270m")
    near, far = gemma.layers[0], gemma.layers[-1]
    short, long = (replace(gemma, depth=3, layers=layers) for layers in ((near, far), (near, far, near)))
    family, values = family_of(long)
    assert family.model_type == "gemma3_text"
    assert values["layer_types"] == ["sliding_attention", "full_attention", "sliding_attention"]
    assert family_of(short)[1] == values
    cut_off = replace(gemma, depth=2, layers=gemma.layers)  # of six layers in the pattern
    assert family_of(cut_off)[1]["layer_types"] == ["sliding_attention"] * 2
    assert explicit(long) == explicit(short)
    assert explicit(long).all_layers == explicit(short).all_layers == long.all_layers


# The families in which transformers knows a preset; it builds the model from our config.json alone.
EXPORTABLE = [name for name in PRESETS if not name.startswith(("qwen3-30b", "qwen3-235b", "cs336"))]


@pytest.mark.parametrize("name", EXPORTABLE)
def test_presets_are_what_transformers_builds(name: str) -> None:
    config = preset(name)
    family, values = family_of(config)
    theirs_config = getattr(
        transformers, CONFIGS.get(family.model_type, family.architecture.replace("ForCausalLM", "Config"))
    )
    with torch.device("meta"):
        model = getattr(transformers, family.architecture)(theirs_config(**values))
    assert parameters(config) == sum(p.numel() for p in model.parameters())
