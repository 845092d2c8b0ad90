"""Tools around tensors: data loading, checkpoints, hooks."""
