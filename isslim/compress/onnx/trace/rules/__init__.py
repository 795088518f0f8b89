"""One module for each family of operators: which axes its outputs have."""
