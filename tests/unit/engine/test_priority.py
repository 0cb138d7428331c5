"""Only the thread that asks for it comes after the others."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.engine.priority import give_way, serve_soon


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


@pytest.mark.skipif(sys.platform != "linux", reason="slices are Linux's")
def test_only_threads_of_the_data_plane_ask_for_short_slices() -> None:
    def named(name: str, ended: threading.Event) -> None:
        Path("/proc/thread-self/comm").write_text(name)
        ended.wait(10)

    before = serve_soon()
    ended = threading.Event()
    threads = [threading.Thread(target=named, args=(name, ended)) for name in ("penstock-77", "other-1")]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 5
        while (served := serve_soon()) == before and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if served == before:
        pytest.skip("this machine lets no thread choose its slice")
    assert served == before + 1
