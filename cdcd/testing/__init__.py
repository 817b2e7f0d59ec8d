"""Contract suites that every adapter must pass, the simulator, and private servers to run them on."""
