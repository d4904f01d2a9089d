"""``radsearch bench decode``: speed, exactness, filters and scale of the search in the exported graph."""
