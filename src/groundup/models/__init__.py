"""The decoder, built from a config."""
