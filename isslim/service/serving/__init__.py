"""The serving core: loaded models, their runs, and cached latency comparisons."""
