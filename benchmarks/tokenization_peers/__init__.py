"""The tokenizers that are compared, each behind the same few calls, and the process that times one of them."""
