"""What a cluster shares."""
