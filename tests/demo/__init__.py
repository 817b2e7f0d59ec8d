"""The whole job on real servers: an ERP on PostgreSQL and a storefront on MariaDB, kept in step by the real daemon.

`python -m demo` (with `tests/` on the path, or `make demo`) plays business on both databases at once and then checks
every field against its owner's last value. Who owns what, and how a value is spelled on each side, is written down
here a second time and by hand: nothing of the checking may be shared with what is checked.
"""
