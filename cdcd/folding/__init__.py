"""From outbox units to set-based writes: one write per record, grouped by table and shape."""
