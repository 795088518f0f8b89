"""A service under mixed requests, while its models are published, promoted, evicted and deleted."""
