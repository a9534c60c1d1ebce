"""What produces clips to be scored: the method contract, native methods, sanity rows, the output normaliser."""
