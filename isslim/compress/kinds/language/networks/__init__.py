"""The architectures of language models, one module each."""
