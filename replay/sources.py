"""What is replayed: a capture, or a plan that names one; opened as often as it has to be read."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissector.pipeline import Dissection, dissect
from replay.errors import ReplayError
from replay.needs import Key
from replay.plan import Planner
from replay.planfile import Plan, digest_of, read_plan
from replay.seeds import Seeds, collect
from replay.selection import Selection, Survey, choice_of, survey
from replay.steps import Step


@dataclass
class Source:
    """A capture with how to read it, and the plan where one was given.

    name: as the user wrote it. engine, options: as for dissector.pipeline.dissect.
    """

    name: str
    engine: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    _kept: bytes | None = None

    @classmethod
    def of(cls, name: str, engine: str = "auto", options: Mapping[str, str] | None = None) -> Source:
        """A file by its name: a plan where it ends in .toml, else a capture; - is a capture on standard input."""
        plan = read_plan(Path(name)) if name.endswith(".toml") else None
        return cls(name, engine, options or {}, plan)

    @property
    def capture(self) -> str:
        return str(self.plan.capture) if self.plan is not None else self.name

    @property
    def digest(self) -> str:
        """Of the capture; '' where it was read from standard input."""
        return "" if self.capture == "-" else digest_of(Path(self.capture))

    def opened(self) -> Dissection:
        source: Any = self.capture
        if source == "-":
            if self._kept is None:
                self._kept = sys.stdin.buffer.read()
            source = io.BytesIO(self._kept)
        return dissect(source, engine=self.engine, options=self.options)

    def seeds(self) -> dict[str, Seeds]:
        """What the capture shows to have been on the server before, by mailbox."""
        with self.opened() as dissection:
            return collect(Planner().steps(dissection.exchanges()))

    def survey(self, selection: Selection) -> Survey:
        """What is chosen, and what every ROP of the capture needs."""
        with self.opened() as dissection:
            return survey(dissection.exchanges(), selection)

    @contextmanager
    def steps_of(self, keys: set[Key]) -> Iterator[Iterator[Step]]:
        """The steps in which only these ROPs are sent."""
        with self.opened() as dissection:
            yield Planner(choice_of(keys)).steps(dissection.exchanges())

    @contextmanager
    def steps(self, selection: Selection, *, may_write: bool = True) -> Iterator[Iterator[Step]]:
        """The steps of what was chosen. may_write: whether what writes is sent; it is named as skipped where not."""
        keys = None
        if selection:
            keys = self.survey(selection).chosen()
            if not keys:
                raise ReplayError(f"{self.name}: nothing in it is chosen by {selection}")
        choice = choice_of(keys, may_write=may_write)
        if self.plan is not None:
            choice = self.plan.choice(choice)
        if self.plan is None:
            with self.opened() as dissection:
                yield Planner(choice).steps(dissection.exchanges())
            return
        with self.opened() as dissection:
            self.plan.check(Planner(choice, self.plan.edits).steps(dissection.exchanges()))
        with self.opened() as dissection:
            yield self.plan.kept(Planner(choice, self.plan.edits).steps(dissection.exchanges()))
