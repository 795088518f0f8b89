"""Question answering: its data, its metrics, and the training of BiDAF."""
