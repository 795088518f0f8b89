"""The algebra of pruning on real networks."""
