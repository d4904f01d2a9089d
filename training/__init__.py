"""From data to checkpoints: SIDs, supervised training, preference alignment, evaluation."""
