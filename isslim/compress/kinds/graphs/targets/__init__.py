"""Targets that are recorded beside the inputs of a graph, and metrics on them."""
