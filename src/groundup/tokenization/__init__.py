"""Text to token ids and back: byte-pair encoding, simple baselines, the chat template. No torch."""
