"""What `train_classifier` and `grade` are asked to do."""

from dataclasses import dataclass, field
from typing import Literal

from groundup.core.errors import ConfigError
from groundup.corpus.fasttext.config import FastTextConfig


@dataclass(frozen=True)
class ClassifierConfig:
    """How a classifier is trained and measured."""

    name: str = "quality"
    positive: str | None = None
    """the label that is looked for; without one only accuracy and each label's figures are measured"""
    held_out_fraction: float = 0.2
    most_characters: int = 5_000
    """the beginning of a text that is used, in training and in use"""
    quantize: bool = False
    """write an .ftz of about an eighth of the size; the figures are of what is written"""
    seed: int = 0
    model: FastTextConfig = field(
        default_factory=lambda: FastTextConfig(width=32, learning_rate=0.5, epochs=10, buckets=1 << 18)
    )

    def __post_init__(self) -> None:
        if not 0 < self.held_out_fraction < 1:
            raise ConfigError(f"held_out_fraction is {self.held_out_fraction}; it must be between 0 and 1.")
        if self.most_characters < 1:
            raise ConfigError(f"most_characters is {self.most_characters}; it must be at least 1.")


@dataclass(frozen=True)
class GradeConfig:
    """How a classifier's score is used; `name` is where it stands in a document's `meta`."""

    name: str = "quality"
    label: str = "good"
    rule: Literal["none", "threshold", "pareto", "most_likely"] = "none"
    """most_likely drops nothing: the most likely label stands in `meta`, with its score, not the score of one label"""
    threshold: float = 0.5
    above: bool = True
    """keep what scores high; False keeps what scores low (toxicity)"""
    most_characters: int = 5_000
    seed: int = 0
