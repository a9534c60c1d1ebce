"""Networks of the metrics, with the key layouts of the published weight files."""
