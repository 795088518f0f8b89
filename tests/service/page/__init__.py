"""The page, as files and in a browser."""
