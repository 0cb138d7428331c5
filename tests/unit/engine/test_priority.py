"""Only the thread that asks for it comes after the others."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.engine.priority import give_way


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own elsewhere")
def test_one_thread_gives_way() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    before = niceness()
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        assert pool.submit(niceness).result() == min(19, before + 5)
        for _ in range(5):
            pool.submit(give_way).result()
        assert pool.submit(niceness).result() == 19
    assert niceness() == before
