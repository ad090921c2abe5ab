"""Self-contained, atomic, hashed checkpoints without pickle."""
