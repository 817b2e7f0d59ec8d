"""`cdcd install`: what makes a service of a program, laid down on a machine or into a package.

`parts` says what belongs where (pure); `placing` puts it there, or takes it away, and says what it did; `program` knows where
this installation keeps the program and the files that came with it.
"""

from __future__ import annotations

from cdcd.install.parts import ADMINISTRATOR, PACKAGE, Installation, Layout, Part
from cdcd.install.placing import Done, Machine

__all__ = ["ADMINISTRATOR", "PACKAGE", "Done", "Installation", "Layout", "Machine", "Part"]
