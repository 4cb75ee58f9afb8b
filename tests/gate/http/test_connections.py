"""What a response's parts cost: they are sent at once."""

from __future__ import annotations

import asyncio
from typing import cast

from gate.http.connections import AtOnce


class Recorder:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.told.append(data)

    def close(self) -> None:
        self.told.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.told


def test_what_is_written_in_one_turn_is_sent_at_once_and_in_order() -> None:
    async def told() -> list[bytes | str]:
        recorder = Recorder()
        transport = AtOnce(cast(asyncio.Transport, recorder), asyncio.get_running_loop())
        transport.write(b"header, ")
        transport.write(b"body")
        assert not recorder.told
        await asyncio.sleep(0)
        transport.write(b"the last")
        transport.close()
        transport.write(b"too late")
        await asyncio.sleep(0)
        assert transport.is_closing()
        return recorder.told

    assert asyncio.run(told()) == [b"header, body", b"the last", "closed"]
