"""What `train_fasttext` is asked to do; apart from it, because its compiled code takes a second to import."""

from dataclasses import dataclass
from typing import Literal

from groundup.core.errors import ConfigError


@dataclass(frozen=True)
class FastTextConfig:
    """What a classifier is trained with; fastText's own defaults are 1 word n-gram and no subwords."""

    width: int = 100
    learning_rate: float = 0.1
    epochs: int = 5
    min_count: int = 1
    """rarer words have no row of their own (n-grams with them have)"""
    word_ngrams: int = 2
    """longest n-gram of words; 1 is none"""
    shortest_subword: int = 0
    longest_subword: int = 0
    """characters; 0 means no subwords"""
    buckets: int = 2_000_000
    """rows that n-grams and subwords share"""
    loss: Literal["softmax", "hierarchical"] = "softmax"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"width": 1, "epochs": 1, "min_count": 1, "word_ngrams": 1, "shortest_subword": 0, "longest_subword": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ConfigError(f"{name} of the classifier is {getattr(self, name)}; it must be at least {value}.")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate of the classifier is {self.learning_rate}; it must be above 0.")
        if self.longest_subword < self.shortest_subword:
            raise ConfigError(
                f"shortest_subword is {self.shortest_subword} and longest_subword {self.longest_subword}; "
                "the longest cannot be shorter."
            )
        if self.uses_buckets and self.buckets < 1:
            raise ConfigError(f"buckets is {self.buckets}; n-grams and subwords need at least 1.")

    @property
    def uses_buckets(self) -> bool:
        return self.word_ngrams > 1 or self.longest_subword > 0
