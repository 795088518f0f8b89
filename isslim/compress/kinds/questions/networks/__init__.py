"""BiDAF and its parts."""
