"""After a loss: a target that went back, a state directory that is gone, and how both are found out."""
