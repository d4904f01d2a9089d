"""radsearch: online generative retrieval for e-commerce search."""
