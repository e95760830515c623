"""Scoring in bulk beside OpenVINO alone."""
