"""One module per resource; each makes a router. State hangs on `request.app.state.context`."""
