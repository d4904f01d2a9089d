"""Measurements side by side: what to compare a trained decoder with, and how fast things are."""
