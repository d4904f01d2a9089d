"""``radsearch bench service``: what HTTP, batching and item lookup add to the bare engine."""
