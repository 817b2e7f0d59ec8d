"""`cdcd plan`: what a configuration would do, tried on copies of the state and by reading the live tables. Writes nothing."""
