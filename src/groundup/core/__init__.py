"""Errors, configs, runs, logging, seeds, provenance: what every layer needs. No torch."""
