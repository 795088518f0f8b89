"""How much of each axis stays: by losses and savings that were measured."""
