"""From a config to the model of its kind."""

from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.hierarchical import Hierarchical
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.models.language_model import LanguageModel
from groundup.models.lstm import Lstm
from groundup.models.lstm_config import LstmConfig
from groundup.models.model_config import ModelConfig


def build_model(config: ModelConfig) -> LanguageModel:
    """The model that a config describes; its matrices hold nothing yet (`initialization.initialize`)."""
    match config:
        case DecoderConfig():
            return Decoder(config)
        case LstmConfig():
            return Lstm(config)
        case HierarchicalConfig():
            return Hierarchical(config)
