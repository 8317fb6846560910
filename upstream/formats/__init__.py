"""Checkpoint formats of others: names of tensors, configurations and files, both ways."""
