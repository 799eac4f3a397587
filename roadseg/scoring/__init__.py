"""Scoring networks on dev tiles the way prediction works, and what to make of it."""
