"""Supervised fine-tuning and reinforcement learning on verifiable instructions."""
