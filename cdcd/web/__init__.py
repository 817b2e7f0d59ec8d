"""What the daemon shows over HTTP: `/metrics`, `/healthz`, `/readyz`, and a page for people at `/`."""
