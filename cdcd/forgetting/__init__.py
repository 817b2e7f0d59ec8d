"""Erasing what is kept of a record: from state (by resolve), from the journal and deliverers' files (by the command)."""
