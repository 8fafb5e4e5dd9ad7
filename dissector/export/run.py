"""Captures into sets: one here, many through Dask."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import dissector
from dissector.errors import DissectorError
from dissector.export.rows import rows_of
from dissector.export.sets import Form, Place, cleared, set_name
from dissector.export.writers import need
from dissector.pipeline import dissect

Status = Literal["written", "kept", "failed"]
CONNECT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Order:
    """A capture to export. folder: where its set goes. force: also where it is there already. run: which orders belong
    together, in a word of their own.
    """

    capture: str
    folder: str
    form: Form = "parquet"
    engine: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    run: str = "single"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an order. path: the set, None where there is none. why: of a failure. rows: by table."""

    capture: str
    status: Status
    path: str | None = None
    why: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def export(order: Order) -> Outcome:
    """Carry out one order. Raises nothing that a capture can cause: a failure is an outcome."""
    began = time.monotonic()
    try:
        place = Place(Path(order.folder), set_name(Path(order.capture)), order.form, order.run)
        options = {"engine": order.engine, "options": dict(order.options)}
        if not order.force and place.is_there(json.dumps(options, sort_keys=True)):
            return Outcome(order.capture, "kept", str(place.path))
        with dissect(order.capture, engine=order.engine, options=order.options) as dissection:
            rows = place.write(rows_of(dissection, options, dissector.__version__))
    except DissectorError as error:
        why = str(error).removeprefix(f"{order.capture}: ")
    except MemoryError:
        why = "there is not enough memory"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    else:
        return Outcome(order.capture, "written", str(place.path), rows=rows, seconds=time.monotonic() - began)
    return Outcome(order.capture, "failed", why=why, seconds=time.monotonic() - began)


def export_many(orders: Sequence[Order], jobs: int = 1, scheduler: str | None = None) -> Iterator[Outcome]:
    """The outcomes of orders, in the order in which they are done.

    With more than one job, or the address of a scheduler, through Dask, one task a capture; else one after another in
    this process. Raises ExtraMissing where Dask is needed and not installed, DissectorError where no scheduler answers.
    """
    if scheduler is None and min(jobs, len(orders)) < 2:
        yield from map(export, orders)
        return
    distributed = need("distributed", "scale")
    run = uuid.uuid4().hex
    with _cleared(orders, run), _client(distributed, min(jobs, len(orders)), scheduler) as client:
        tasks = {client.submit(export, replace(one, run=run), pure=False, retries=0): one for one in orders}
        for task in distributed.as_completed(list(tasks), loop=client.loop):
            order = tasks.pop(task)
            if task.status == "finished":
                yield task.result()
            else:
                error = task.exception()
                killed = type(error).__name__ == "KilledWorker"
                why = "the worker process was killed" if killed else f"{type(error).__name__}: {error}"
                yield Outcome(order.capture, "failed", why=why)
            task.release()


@contextmanager
def _cleared(orders: Sequence[Order], run: str) -> Iterator[None]:
    """Nothing stays of what the run did not finish, however it ends."""
    try:
        yield
    finally:
        for folder in {one.folder for one in orders}:
            cleared(Path(folder), run)


LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
"""Settings of Dask on this machine. A capture that kills its worker is not tried again: it would kill the next one.

Dask cannot do without HTTP servers. They show nothing, to this machine only, and listen at any port that is free: at
8787, their usual one, there may be somebody else.
"""


@contextmanager
def _client(distributed: Any, jobs: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client: of the scheduler at that address, or of workers on this machine."""
    import dask

    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise DissectorError(f"no Dask scheduler answers at {scheduler}: {_first_line(error)}") from None
        with client:
            yield client
        return
    with (
        dask.config.set(LOCAL),
        distributed.LocalCluster(
            n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        yield client


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def orders_for(
    captures: Sequence[str],
    folder: str,
    make: Callable[[str, str], Order],
) -> list[Order]:
    """One order for each capture, none twice; paths are absolute, since workers may run elsewhere."""
    target = os.path.abspath(folder)
    return [make(path, target) for path in dict.fromkeys(os.path.abspath(one) for one in captures)]
