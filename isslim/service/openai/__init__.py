"""OpenAI completions and the calls about tokenizers that their clients make."""
