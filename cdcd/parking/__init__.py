"""Parked records: what targets refused, kept by name, shown, retried, edited, discarded; and what a pause puts aside."""
