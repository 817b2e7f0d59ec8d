"""All workers of a daemon, one for each role of its configuration, which a reload may change."""

from __future__ import annotations

import os
from typing import Final

from cdcd.blueprint import Blueprint, Role
from cdcd.forking import Template
from cdcd.report import Counter, Receiver
from cdcd.wake import Bell
from cdcd.worker import Assignment, Wiring, write_assignment
from cdcd.worker_process import Spawner, WorkerProcess

TEMPLATE_SECONDS: Final = 3.0
"""So long all workers must have run until nobody is expected to need the template."""


class Workforce:
    """The workers by role (`workers`, always the same mapping), and what they are wired with."""

    def __init__(self, blueprint: Blueprint, template: Template | None = None) -> None:
        """`template` is one that imports already."""
        self._template = template or Template(blueprint.file)
        self.workers: dict[Role, WorkerProcess] = {}
        self._former: dict[Role, WorkerProcess] = {}
        self._receiver = Receiver()
        self._life_read, self._life_write = os.pipe()
        self._assignment: int | None = None
        self.follow(blueprint)

    def follow(self, blueprint: Blueprint) -> None:
        """Have the workers of that configuration, those that there were with all they have counted. None may be alive."""
        assert not self.alive, "a worker would go on with another configuration"
        known = self._former | self.workers
        bells = {role: known[role].bell if role in known else Bell.create() for role in blueprint.roles()}
        spawner = self._wire(blueprint, bells)
        self._former = {role: worker for role, worker in known.items() if role not in bells}
        self.workers.clear()
        for role, bell in bells.items():
            worker = self.workers[role] = known.get(role) or WorkerProcess(role, bell, spawner)
            worker.follow(spawner)

    def _wire(self, blueprint: Blueprint, bells: dict[Role, Bell]) -> Spawner:
        wiring = Wiring(
            supervisor_pid=os.getpid(),
            report=self._receiver.workers_fd,
            life=self._life_read,
            bells={str(role): bell.fd for role, bell in bells.items()},
        )
        if self._assignment is not None:
            os.close(self._assignment)
        self._assignment = write_assignment(Assignment(blueprint, wiring))
        return Spawner(blueprint.file, self._assignment, tuple(wiring.descriptors()), self._template)

    def fileno(self) -> int:
        """Readable when a worker has reported."""
        return self._receiver.fileno()

    def hear(self) -> None:
        """Take the reports that have arrived."""
        by_name = {str(role): worker for role, worker in (self._former | self.workers).items()}
        for report in self._receiver.take():
            by_name[report.role].take(report)

    @property
    def alive(self) -> bool:
        """Whether any process is there."""
        return any(worker.alive for worker in self.workers.values())

    def start(self) -> None:
        """Start those whose time has come."""
        self._template.tend()
        for worker in self.workers.values():
            if worker.start_due_seconds() == 0.0:
                worker.start()

    def start_due_seconds(self) -> list[float]:
        """How long until each that does not run is to be started."""
        due = [worker.start_due_seconds() for worker in self.workers.values()]
        return [seconds for seconds in due if seconds is not None]

    def end(self) -> None:
        """Have all finish their step and end."""
        for worker in self.workers.values():
            worker.end()

    def expect_change(self) -> None:
        """Another configuration is about to be followed: what its workers need is imported meanwhile."""
        self._template.renew()

    def spare_template(self) -> None:
        """Once all have worked for a while, end the template: its pages that no worker shares any more are 25 MiB."""
        if all(worker.running_seconds >= TEMPLATE_SECONDS for worker in self.workers.values()):
            self._template.rest()

    def kill(self) -> None:
        """End all at once."""
        for worker in self.workers.values():
            worker.kill()

    def counters(self) -> list[Counter]:
        """Totals since the daemon started, also of roles that there are no more."""
        return [counter for worker in (*self.workers.values(), *self._former.values()) for counter in worker.counters()]

    def close(self) -> None:
        """Stop hearing them. The template ends."""
        self._template.close()
        self._receiver.close()
