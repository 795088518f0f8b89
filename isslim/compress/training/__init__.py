"""Training of language models, from scratch or by distillation: plan, loop, evaluation, checkpoints, many processes."""
