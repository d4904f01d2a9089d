"""A synthetic shop: items, queries and sessions from a seed, with the true relevance of every pair known."""
