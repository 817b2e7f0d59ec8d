"""Ends the connection of whoever wrote before us with the same state, if it still holds the checkpoint.

A client that is gone without a word (a cut network, a frozen host) leaves a transaction behind that holds the checkpoint for
as long as the server's kernel waits for it, which is hours. So every writer holds a named lock (GET_LOCK) by the name of its
state and its epoch, for as long as its connection lives: by that a successor finds it, and ends it, as every account may
end its own connections.
"""

from __future__ import annotations

import hashlib
from typing import Final

import pymysql
from pymysql.constants import ER

from cdcd.adapter import Identity
from cdcd_mysql.errors import error_number
from cdcd_mysql.session import Session
from cdcd_mysql.statements import quote_text

_NOT_POSSIBLE: Final = frozenset({ER.NO_SUCH_THREAD, ER.KILL_DENIED_ERROR})


def end_predecessor(session: Session, identity: Identity, epoch: int) -> None:
    """End the writer of that epoch. Where that is not allowed, its locks decide. Raises the driver's errors."""
    ((holder,),) = session.run(f"SELECT IS_USED_LOCK({_name(identity, epoch)})").rows
    if holder is None:
        return
    try:
        session.run(f"KILL {int(holder)}")
    except pymysql.Error as error:
        if error_number(error) not in _NOT_POSSIBLE:
            raise


def be_known(session: Session, identity: Identity, epoch: int) -> None:
    """Hold the lock of that epoch as long as this connection lives. Raises the driver's errors."""
    session.run(f"SELECT GET_LOCK({_name(identity, epoch)}, 0)")


def _name(identity: Identity, epoch: int) -> str:
    text = f"{identity.daemon}\0{identity.system}\0{identity.lineage}\0{epoch}"
    return quote_text(f"cdcd:{hashlib.sha256(text.encode()).hexdigest()[:48]}")
