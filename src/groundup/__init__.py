"""groundup: a language model from the ground up, from raw text to an aligned model behind a server."""

__version__ = "0.1.0"
