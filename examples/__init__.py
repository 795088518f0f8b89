"""Programs to read and run: a notebook, and a learner and criterion of one's own."""
