"""The windows of all machines of a gateway, in memory, and how a restart rebuilds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreshock_agent.scoring import Due
from foreshock_rules.windows import Windower, WindowSpec
from foreshock_wire.batch import FLAG_FUTURE

if TYPE_CHECKING:
    from foreshock_agent.store import Store
    from foreshock_rules.readings import Reading


class Machine:
    """One machine's windows, with the event times of its newest reading and last scored window."""

    __slots__ = ("newest_ns", "scored_ns", "windower")

    def __init__(self, spec: WindowSpec, newest_ns: int = 0, scored_ns: int = 0) -> None:
        self.windower = Windower(spec)
        self.newest_ns = newest_ns
        self.scored_ns = scored_ns


class Machines:
    """Every machine that was ever heard, made when its first reading comes."""

    def __init__(self, spec: WindowSpec, store: Store) -> None:
        self._store = store
        self._machines: dict[str, Machine] = {}
        self._touched: set[str] = set()
        self.use(spec)

    def __len__(self) -> int:
        return len(self._machines)

    def use(self, spec: WindowSpec) -> None:
        """Cut windows by `spec` from now on, beginning with what the store holds (recovery)."""
        self.spec = spec
        self._columns = {name: column for column, name in enumerate(spec.channels)}
        self._machines = {
            name: self._rebuilt(name, newest_ns, scored_ns)
            for name, (newest_ns, scored_ns) in self._store.machines().items()
        }

    def _rebuilt(self, name: str, newest_ns: int, scored_ns: int) -> Machine:
        """Replay a machine's tail; what becomes due on the way was scored before the restart."""
        machine = Machine(self.spec, newest_ns, scored_ns)
        from_ns = newest_ns - self.spec.history_ns
        tail = self._store.tail(name, self.spec.channels, from_ns)
        for channel, time_ns, value, flags in tail:
            if not flags & FLAG_FUTURE:
                machine.windower.add(self._columns[channel], time_ns, value)
        return machine

    def is_late(self, reading: Reading) -> bool:
        """Say whether a window that should have held this reading was scored already."""
        machine = self._machines.get(reading.machine)
        return machine is not None and machine.windower.is_late(reading.time_ns)

    def add(self, reading: Reading, received_ns: int, *, future: bool) -> list[Due]:
        """Take a stored reading; return the windows that it makes due.

        A reading from the future is kept out of the windows: it must not move the watermark.
        """
        column = self._columns.get(reading.channel)
        if future or column is None:
            return []
        machine = self._machines.get(reading.machine)
        if machine is None:
            machine = self._machines[reading.machine] = Machine(self.spec)
        _, windows = machine.windower.add(column, reading.time_ns, reading.value)
        machine.newest_ns = max(machine.newest_ns, reading.time_ns)
        self._touched.add(reading.machine)
        fresh = [window for window in windows if window.end_ns > machine.scored_ns]
        if fresh:
            machine.scored_ns = fresh[-1].end_ns
        return [Due(reading.machine, window, received_ns) for window in fresh]

    def save(self) -> None:
        """Write how far the machines touched since the last call have come."""
        for name in self._touched:
            machine = self._machines[name]
            self._store.save_machine(name, machine.newest_ns, machine.scored_ns)
        self._touched.clear()
