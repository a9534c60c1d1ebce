"""Pure functions of arrays: the numbers behind the metrics."""
