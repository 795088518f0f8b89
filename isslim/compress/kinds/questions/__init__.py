"""Question answering: BiDAF, its data, metrics, training, upload and graph."""
