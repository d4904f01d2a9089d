"""Data in: items, sessions and judgments are read, checked, and written as one data directory."""
