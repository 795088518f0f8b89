"""The kinds of models, each described once: its names, metrics, budget and words."""
