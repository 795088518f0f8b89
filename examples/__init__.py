"""Programs to read and run: `demo` is the whole job on one page, `story` what it shows."""
