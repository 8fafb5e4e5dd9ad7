"""Servers in the process of the tests end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
import uvicorn.server


class _Prompt:
    """asyncio as uvicorn sees it: it looks often whether it is to end, and waits a tenth of a second more when it is.

    That is nothing for one server, and minutes for the hundreds that start and end here. Those in processes of their
    own are as they are.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    def sleep(seconds: float) -> Awaitable[None]:
        return asyncio.sleep(min(seconds, 0.005))


@pytest.fixture(autouse=True, scope="session")
def prompt_servers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.server, "asyncio", _Prompt())
        yield
