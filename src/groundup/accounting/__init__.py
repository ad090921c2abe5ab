"""Parameters and FLOPs of a config. No torch."""
