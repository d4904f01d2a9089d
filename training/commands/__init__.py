"""The commands of the training room, one module each."""
