"""`cdcd init`: looks at two databases and proposes a configuration to start from. Only `looking` does I/O."""
