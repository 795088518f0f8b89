"""Distillation of a cut graph from its original, on recorded inputs."""
