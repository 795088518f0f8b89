"""The serving core: loaded models, runs beside the event loop, latencies that are known."""
