"""What training needs of any kind of network: plan, optimizers, checkpoints, many processes."""
