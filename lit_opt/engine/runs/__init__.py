"""The run folder: where a run keeps its configuration, curves, scores and checkpoints."""
