"""What every job begins with: what was understood of an upload, and checks of the sender's own."""
