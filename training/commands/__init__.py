"""The commands of this room, one function each."""
