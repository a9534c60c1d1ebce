"""Networks of the extractors, in a package of their own: only the extractor that runs one imports torch."""
