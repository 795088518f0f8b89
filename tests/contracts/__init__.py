"""The service against the clients that others wrote, each in an environment of its own."""
