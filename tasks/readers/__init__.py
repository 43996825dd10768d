"""What the readers of data sets share: checked paths, the choice of samples, the IDX format."""
