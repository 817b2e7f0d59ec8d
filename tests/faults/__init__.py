"""The fault tests: a rig of real servers, the faults, a verdict that knows nothing of cdcd, and the long run."""
