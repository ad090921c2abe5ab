"""What a model writes after a few prompts: at the end in an evaluation, on the way in a pretraining."""

from collections.abc import Sequence

from groundup.core.errors import ConfigError, InputError
from groundup.core.logging import get_logger
from groundup.core.seeds import derive_seed
from groundup.inference.engine import Engine
from groundup.inference.requests import Request, Sampling
from groundup.models.language_model import LanguageModel
from groundup.stages.config import PretrainConfig
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT

logger = get_logger(__name__)


def samples(engine: Engine, prompts: Sequence[str], tokens: int, seed: int) -> list[dict[str, str]]:
    """What the model writes after each prompt at the start of a document, as {"prompt", "text"}. The random numbers are
    hashes of the seed and the place, so two models are given the same ones, and nothing else sees them."""
    mark = engine.tokenizer.special_tokens[END_OF_TEXT]
    requests = [
        Request(
            (mark, *engine.tokenizer.encode(prompt)),
            Sampling(tokens, temperature=0.8, top_p=0.95, seed=derive_seed("sample", seed, row)),
            stop_ids=(mark,),
        )
        for row, prompt in enumerate(prompts)
    ]
    return [{"prompt": p, "text": c.text} for p, c in zip(prompts, engine.generate(requests), strict=True)]


class Sampler:
    """Samples of a model in training, which notices nothing of it. Models that cannot generate are said so once."""

    def __init__(self, config: PretrainConfig, tokenizer: BytePairTokenizer) -> None:
        self.prompts, self.tokens, self.seed = config.sample_prompts, config.sample_tokens, config.seed
        self.tokenizer = tokenizer
        for prompt in self.prompts:
            needed = 1 + len(tokenizer.encode(prompt))  # the mark in front
            if needed >= config.model.context_length:
                raise ConfigError(
                    f"The sample prompt {prompt[:40]!r} has {needed} tokens, which leaves no room in a context of "
                    f"{config.model.context_length}; shorten it."
                )

    def samples(self, model: LanguageModel) -> list[dict[str, str]]:
        """None where no prompts are given, or where the model cannot generate."""
        if not self.prompts:
            return []
        model.eval()
        try:
            return samples(Engine(model, self.tokenizer), self.prompts, self.tokens, self.seed)
        except InputError as error:
            logger.info("There will be no samples: %s", error)
            self.prompts = ()
            return []
        finally:
            model.train()
