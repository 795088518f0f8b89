"""What goes in and out over HTTP: pydantic alone, for the service and its clients."""
