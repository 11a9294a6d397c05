"""Fronts: sites of several rows that a walk computes together."""
