"""Training of language models: plan, loop, evaluation."""
