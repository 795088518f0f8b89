"""What is specific to a kind of model: reading, activations, quality, export, proof and latency.

The stages of a compression know none of it.
"""
