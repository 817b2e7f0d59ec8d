"""`make bench`: how fast cdcd is beside its peers on the same work, in one run, on this machine."""
