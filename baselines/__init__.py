"""What generates the clips that are scored: method contract, native and external methods, sanity rows, output store."""
