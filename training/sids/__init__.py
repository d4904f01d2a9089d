"""From item texts to SIDs: embedding, residual k-means, report."""
