"""One module per resource, each with a router. State is in `request.app.state.context`."""
