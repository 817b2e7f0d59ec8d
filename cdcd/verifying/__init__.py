"""Whether the data is in step at all: live rows compared with golden records, while changes flow. Writes to no system."""
