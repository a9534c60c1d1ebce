"""Recipes, one file each: the settings with which papers prepared their data."""
