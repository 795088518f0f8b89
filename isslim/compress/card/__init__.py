"""The card as a file, and its plots."""
