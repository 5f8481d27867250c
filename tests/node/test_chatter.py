"""Ray's threads write to their log; everyone else writes where they always did."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import pytest

from node.chatter import Chatter


def say(text: str, thread_name: str) -> None:
    thread = threading.Thread(target=lambda: print(text), name=thread_name)
    thread.start()
    thread.join()


def test_only_threads_of_ray_are_sent_to_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Chatter(tmp_path / "logs" / "ray.log"):
        say("a worker died", "ray_listen_error_messages")
        say("our own thread", "collector")
        print("our own words")
        print("our own errors", file=sys.stderr)
    captured = capsys.readouterr()
    assert captured.out == "our own thread\nour own words\n"
    assert captured.err == "our own errors\n"
    assert (tmp_path / "logs" / "ray.log").read_text() == "a worker died\n"


def test_the_streams_are_given_back(tmp_path: Path) -> None:
    before = (sys.stdout, sys.stderr)
    with Chatter(tmp_path / "ray.log"):
        assert sys.stdout.isatty() == before[0].isatty()
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


def test_a_stream_that_someone_else_has_replaced_is_left_alone(tmp_path: Path) -> None:
    before, theirs = sys.stdout, io.StringIO()
    chatter = Chatter(tmp_path / "ray.log")
    try:
        sys.stdout = theirs
        chatter.close()
        assert sys.stdout is theirs
    finally:
        sys.stdout = before


def test_while_ray_is_shut_down_all_that_is_printed_is_taken_for_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Chatter(tmp_path / "ray.log") as chatter:
        with chatter.ray_speaks():
            print("held back until now")
        print("ours again")
    assert capsys.readouterr().out == "ours again\n"
    assert (tmp_path / "ray.log").read_text() == "held back until now\n"
