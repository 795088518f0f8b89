"""Serving language models: text to token ids, scoring graphs, perplexity."""
