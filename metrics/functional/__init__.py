"""Pure functions of arrays that compute the numbers of the metrics."""
