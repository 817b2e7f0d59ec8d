"""Questions from other threads are answered by the one thread that may."""

import threading

import pytest

from cdcd.errors import Unavailable
from cdcd.mailbox import Mailbox
from cdcd.wake import wait


def test_who_asks_gets_what_the_answering_thread_makes():
    here = threading.get_ident()
    mailbox = Mailbox(threading.get_ident)
    found: list[int] = []
    askers = [threading.Thread(target=lambda: found.append(mailbox.ask())) for _ in range(3)]
    for asker in askers:
        asker.start()
    while len(found) < 3:
        wait([mailbox.fileno()], 0.05)  # answered is not yet appended: look again
        mailbox.answer()
    for asker in askers:
        asker.join()
    assert found == [here] * 3


def test_who_waits_when_the_supervisor_ends_is_told_so_at_once_and_who_asks_later_too():
    mailbox = Mailbox(lambda: 1)
    found: list[str] = []

    def ask() -> None:
        with pytest.raises(Unavailable) as caught:
            mailbox.ask(timeout_seconds=60)
        found.append(caught.value.code)

    asker = threading.Thread(target=ask)
    asker.start()
    wait([mailbox.fileno()], 60)
    mailbox.close()
    asker.join()
    ask()
    assert found == ["supervisor-stopped"] * 2


def test_a_supervisor_that_hangs_is_an_error_and_not_a_hang():
    with pytest.raises(Unavailable) as caught:
        Mailbox(lambda: 1).ask(timeout_seconds=0.01)
    assert caught.value.code == "supervisor-silent"
