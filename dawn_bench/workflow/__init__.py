"""Whole jobs made of several rooms: evaluate, quickstart. Only the command line stands to the right of this."""
