"""The OpenAI-compatible HTTP API."""

KEY_VARIABLE = "GROUNDUP_API_KEY"
"""the environment variable that may hold an API key, of a server and of its clients"""
