"""Tables of mixed columns: coding, scores of columns, replicates."""
