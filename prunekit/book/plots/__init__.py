"""Figures drawn from tables and arrays. Nothing here computes a result."""
