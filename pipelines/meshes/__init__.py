"""Talking meshes: readers, renderer and a synthetic set in the layout of BIWI and VOCASET."""
