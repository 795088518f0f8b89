"""From a checkpoint and a vocabulary to a language model and its tokenizer."""
