"""The process begins anew once, with what was set kept."""

from __future__ import annotations

from penstock.cli.allocator import restarted

COMMAND = ["python3", "-m", "penstock", "serve", "--port", "0"]


def test_it_begins_anew_with_larger_caches_and_the_same_arguments() -> None:
    arguments, tunables = restarted("", COMMAND, "/bin/python") or ([], "")
    assert arguments == ["/bin/python", "-m", "penstock", "serve", "--port", "0"]
    assert tunables == "glibc.malloc.tcache_count=64"
    # And not again.
    assert restarted(tunables, COMMAND, "/bin/python") is None


def test_what_was_set_is_kept() -> None:
    mine = "glibc.malloc.arena_max=2"
    assert restarted(mine, COMMAND, "/bin/python") == (
        ["/bin/python", *COMMAND[1:]],
        f"{mine}:glibc.malloc.tcache_count=64",
    )
    assert restarted("glibc.malloc.tcache_count=9", COMMAND, "/bin/python") is None


def test_another_program_that_serves_is_left_alone() -> None:
    installed = ["/bin/python", "/opt/bin/penstock", "serve"]
    assert restarted("", installed, "/bin/python") == (installed, "glibc.malloc.tcache_count=64")
    for other in (
        ["python3", "-m", "tests.guards.held"],
        ["python3", "own.py", "-m", "penstock"],
        ["python3", "-c", "..."],
    ):
        assert restarted("", other, "/bin/python") is None


def test_an_embedded_interpreter_is_left_alone() -> None:
    assert restarted("", [], "/bin/python") is None
    assert restarted("", COMMAND, "") is None
