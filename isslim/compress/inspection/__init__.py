"""The first stage of every job: inspection of the upload, and the sender's own checks."""
