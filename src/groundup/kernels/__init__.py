"""Tensor operations with a reference and a dispatch that is recorded in a run's provenance."""
