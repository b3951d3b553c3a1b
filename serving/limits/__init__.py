"""Limits that hold: what a decision reserves, answers that are given again, one answer for the same question."""
