"""What is published of a candidate: graphs, quality, latency, and what follows from both."""
