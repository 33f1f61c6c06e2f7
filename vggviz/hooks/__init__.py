"""Hooks on networks: taps, capture, changes, and finding attention."""
