"""Talking meshes: BIWI, VOCASET and a synthetic set in their layout, read, drawn and written."""
