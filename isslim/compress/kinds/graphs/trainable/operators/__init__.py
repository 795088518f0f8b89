"""One module for each family of operators: what torch computes in their place."""
