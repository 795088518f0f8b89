"""The paper's method at small size, from two texts to its curve and figures in one command."""
