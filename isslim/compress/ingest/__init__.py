"""From an upload to a model that is understood: files to arrays, names and shapes to a network, words to a tokenizer."""
