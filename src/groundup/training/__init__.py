"""The training loop, a generator that every stage consumes."""
