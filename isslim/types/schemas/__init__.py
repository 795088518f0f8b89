"""The bodies of HTTP requests and responses, in pydantic alone, for the service and its clients."""
