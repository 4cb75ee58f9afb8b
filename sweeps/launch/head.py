"""The head of a sweep: hands over what is missing, waits, and says what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from hydra.errors import CompactHydraException
from rich.console import Console

from sweeps.grid.listed import listed_before
from sweeps.grid.units import Plan, Stage, Unit, counted
from sweeps.launch.folder import SweepFolder, pack
from sweeps.launch.overview import Overview, TimeToGo
from sweeps.launch.states import CellState, cell_states, counts, job_states, sentence
from sweeps.launch.types import ClusterSilent, JobState, Launcher


class SweepFailed(CompactHydraException):
    """Some cells have no result; the message names each, with the last line of its error."""


class SweepInterrupted(SweepFailed):
    """The sweep was interrupted at the terminal; the message says how it goes on."""


@contextmanager
def alone(directory: Path) -> Iterator[bool]:
    """Meanwhile no other head runs the sweep; gives whether one was waited for."""
    waited: list[str] = []

    def say(owner: str) -> None:
        waited.append(owner)
        Console(soft_wrap=True).print(
            f"another command runs this sweep ({owner}); this one goes on once that has ended"
        )

    with ExitStack() as held:
        try:
            held.enter_context(SweepFolder(directory).alone(say))
        except KeyboardInterrupt:
            raise SweepInterrupted(f"interrupted; the sweep goes on with {waited[0]}") from None
        yield bool(waited)


class Head:
    """Sees a plan through on a launcher. A head that is killed loses nothing: the next one goes on."""

    def __init__(
        self, plan: Plan, launcher: Launcher, cells_per_job: Mapping[Stage, int], logging: Any
    ) -> None:
        self.plan = plan
        self.launcher = launcher
        self.cells_per_job = cells_per_job
        self.logging = logging
        self.folder = SweepFolder(plan.directory)

    def run(self, wait: bool = True) -> None:
        """Start what is missing and is not under way; raises SweepFailed in the end if cells lack results."""
        known = {cell.key for cell in listed_before(self.folder.directory)}
        self.folder.write_plan(self.plan)
        under_way = {unit for unit, state in _patiently(self.folder).items() if state.under_way}
        units = [unit for unit in self.plan.units if unit.id not in under_way]
        # The job of a unit that is under way knows nothing of cells that are new.
        late = [
            unit
            for unit in self.plan.units
            if unit.id in under_way and any(cell.key not in known for cell in unit.cells)
        ]
        try:
            self._start(units)
            if not wait:
                self._say_left(len(self.launcher.waiting()) + len(late))
                return
            if units or under_way:
                self._wait()
            if late:
                self._start(late)
                self._wait()
        except KeyboardInterrupt:
            self.launcher.stop()
            raise SweepInterrupted(self._left_behind()) from None
        raise_failures(self.folder)

    def _start(self, units: list[Unit]) -> None:
        if units:
            self.folder.forget_jobs({unit.id for unit in units})
            self.launcher.start(pack(units, self.cells_per_job), self.folder, self.logging)

    def _wait(self) -> None:
        wait_for(self.folder, self.launcher.poll_seconds, self.launcher.step, self.launcher.waiting)

    def _say_left(self, left: int) -> None:
        """Say what the cluster has not taken yet, where the head does not stay to submit it."""
        if left:
            Console(soft_wrap=True).print(
                f"{counted(left, 'unit')} of the sweep are not submitted, since SLURM takes no more at a "
                "time; the same command submits more once some have ended"
            )

    def _left_behind(self) -> str:
        again = "the same command goes on where this one stopped"
        if self.launcher.outlives_head:
            status = f"tollgate status {quote(str(self.folder.directory))} --wait"
            return f"interrupted; the jobs go on, and {status} waits for them; {again}"
        return f"interrupted; {again}"


def wait_for(
    folder: SweepFolder,
    poll_seconds: float,
    step: Callable[[], None] = lambda: None,
    waiting: Callable[[], set[str]] = set,
) -> None:
    """Return once no unit of the sweep is under way; meanwhile say how its cells stand."""
    states = cell_states(folder, _patiently(folder))
    before = counts(states).get("done", 0)
    told, to_go = [sentence(states)], TimeToGo(len(states) - before)
    with Overview(lambda: told[0] + to_go.words()).shown() as overview:
        while True:
            step()
            jobs = _patiently(folder) | {unit: JobState("pending") for unit in waiting()}
            states = cell_states(folder, jobs)
            told[0], to_go.done = sentence(states), counts(states).get("done", 0) - before
            overview.tell()
            if not any(state.under_way for state in jobs.values()):
                return
            time.sleep(poll_seconds)


def _patiently(folder: SweepFolder, patience: float = 600.0) -> dict[str, JobState]:
    """The states of the jobs, asked for again while the cluster is silent."""
    started = time.monotonic()
    while True:
        try:
            return job_states(folder)
        except ClusterSilent:
            if time.monotonic() - started > patience:
                raise
            time.sleep(5)


def raise_failures(folder: SweepFolder) -> None:
    """Raise SweepFailed, naming each cell and why, unless all cells of the sweep are done."""
    states = cell_states(folder, _patiently(folder))
    missing = [state for state in states if state.word != "done"]
    if missing:
        raise SweepFailed("\n".join([sentence(states), *failure_lines(missing)]))


def failure_lines(states: list[CellState]) -> list[str]:
    """A line a cell: what it is, how it stands, and the last line of its error."""
    return [
        f"  {state.word}: {state.cell.label} ({state.cell.directory.name})"
        + (f": {state.detail}" if state.detail else "")
        for state in states
    ]
