"""Language models: their networks, uploads, texts, training and graphs."""
