"""The algebra of removal on named axes. NumPy only; knows no kind of model."""
