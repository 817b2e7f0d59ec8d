"""The journal for people: what is in it, checking it, mending it, making room."""
