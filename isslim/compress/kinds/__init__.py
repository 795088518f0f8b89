"""What is specific to a kind of model: how it is observed, judged, exported, proven and measured. The stages know none of it."""
