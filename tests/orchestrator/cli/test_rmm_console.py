"""The firmware door by hand: what a newcomer types, and what comes back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cca_machine.abi.rmi import COMMANDS, Rmi
from cca_machine.abi.rmi2 import COMMANDS_2_0, Rmi2
from orchestrator.cli.rmm import rmm
from orchestrator.cli.rmm_console.session import DRAM, Session
from orchestrator.cli.rmm_console.steps import Stopped
from orchestrator.cli.rmm_console.verbs import execute, verbs_of
from orchestrator.errors import UserMistake

A_REALM = ("realm", "ram 0 2M", "tables 0x200000", "page 0x200000 hello", "rec", "activate")


def run(*words: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(rmm, list(map(str, words)), input=stdin)


def after(*lines: str, edition: str = "1.0") -> Session:
    session = Session("suggested", edition)
    for line in lines:
        execute(session, line)
    return session


def test_one_call_is_answered_and_exits_0() -> None:
    done = run("call", "GRANULE_DELEGATE", "0x880000000")
    assert done.exit_code == 0
    assert done.stdout == "GRANULE_DELEGATE(addr=0x880000000) -> SUCCESS\n"


def test_a_refused_call_names_the_condition_and_exits_1() -> None:
    done = run("call", "granule_delegate", "0x880000000", "+", "RMI_GRANULE_DELEGATE", "addr=0x880000000")
    assert done.exit_code == 1
    assert "why: addr_state: the granule is not UNDELEGATED" in done.stdout


def test_json_decodes_status_level_outputs_and_reason(tmp_path: Path) -> None:
    script = tmp_path / "calls"
    script.write_text("realm  # an empty one\n")
    done = run("call", "RTT_READ_ENTRY", "$rd", "0", "3", "+", "DATA_DESTROY", "$rd", "0", "--file", script, "--json")
    assert done.exit_code == 1
    calls = json.loads(done.stdout)["calls"]
    read, destroy = calls[-2:]
    assert (read["answer"], read["outputs"]["walk_level"]) == ("SUCCESS", "0x1")
    assert (destroy["answer"], destroy["why"]["condition"]) == ("ERROR_RTT(1)", "rtt_walk")
    assert destroy["outputs"] == {"top": hex(1 << 39)}
    assert read["args"] == {"rd": "0x890002000", "ipa": "0x0", "level": "0x3"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to call"),
        (("GRANULE_DELEGAT", "0"), "no command"),
        (("GRANULE_DELEGATE", "here"), "no number"),
        (("GRANULE_DELEGATE", "$rd"), "no $rd"),
        (("GRANULE_DELEGATE", "colour=1"), "no argument colour"),
        (("GRANULE_DELEGATE", "0x10000000000000000"), "64-bit"),
        (("VERSION", *"12345678"), "more words than registers"),
        (("VERSION", "--file", "/no/such/file"), "no file"),
        (("VERSION", "--quirks", "my-own"), "quirk set"),
        (("VERSION", "--edition", "1.1"), "no edition 1.1"),
        (("GRANULE_DELEGATE", "0", "--edition", "2.0"), "RMI 2.0 has no command"),
    ],
)
def test_what_cannot_be_called_is_the_users_mistake(words: tuple[str, ...], says: str) -> None:
    done = run("call", *words)
    assert isinstance(done.exception, UserMistake)
    assert says in done.exception.message
    assert done.exception.hint


def test_a_number_that_is_no_command_is_still_called() -> None:
    done = run("call", "0xC4000156")
    assert "NOT_SUPPORTED" in done.stdout
    assert "no command of RMI 1.0" in done.stdout


def test_the_quirk_set_changes_the_answer() -> None:
    words = ("call", "VERSION", "0x20000", "--json")
    suggested, firmware = (json.loads(run(*words, *more).stdout)["calls"][0] for more in ((), ("--quirks", "tf-rmm")))
    assert suggested["answer"] == firmware["answer"] == "ERROR_INPUT"


def test_a_realm_is_built_by_hand_and_its_tables_are_drawn() -> None:
    session = after(*A_REALM)
    assert execute(session, "tree") == [
        "rd 0x890002000, 2 root table(s) at level 1",
        "├─ level 1 table 0x890000000 from IPA 0x0",
        "│  ├─ level 2 table 0x890004000 from IPA 0x0",
        "│  │  ├─ 0x0 .. 0x200000  UNASSIGNED RAM",
        "│  │  ├─ level 3 table 0x890005000 from IPA 0x200000",
        "│  │  │  ├─ 0x200000 .. 0x201000  ASSIGNED RAM -> 0x890006000",
        "│  │  │  └─ 0x201000 .. 0x400000  UNASSIGNED EMPTY",
        "│  │  └─ 0x400000 .. 0x40000000  UNASSIGNED EMPTY",
        "│  └─ 0x40000000 .. 0x8000000000  UNASSIGNED EMPTY",
        "└─ level 1 table 0x890001000 from IPA 0x8000000000",
        "   └─ 0x8000000000 .. 0x10000000000  UNASSIGNED_NS",
    ]
    assert any("ACTIVE" in line for line in execute(session, "realms"))
    assert any(line.endswith("16  REC_AUX") for line in execute(session, "granules"))


def test_a_realm_runs_and_its_exit_is_shown() -> None:
    session = after(*A_REALM)
    assert execute(session, "enter rsi VERSION 0x10000")[-1].split()[2:] == ["0x0", "0x10000", "0x10000", "0x0"]
    asked = execute(session, "enter rsi IPA_STATE_SET 0x400000 0x600000 1 0")
    assert "exit RIPAS_CHANGE" in asked[1]
    assert "ripas_base=0x400000 ripas_top=0x600000" in asked[1]
    missing = execute(session, "enter load 0x100000")
    assert "exit SYNC" in missing[1]
    assert "hpfar=0x1000" in missing[1]
    said = execute(session, "enter say 0x200000 12345678 , load 0x200000")
    assert hex(int.from_bytes(b"12345678", "little")) in said[-1]


def test_why_walks_the_table_down_to_the_condition_that_refused() -> None:
    session = after("realm")
    with pytest.raises(Stopped):
        execute(session, "page 0x1000")
    lines = execute(session, "why")
    assert lines[0].startswith("DATA_CREATE_UNKNOWN(")
    assert lines[1:4] == ["     data_align: passed", "     data_bound: passed", "     data_state: passed"]
    assert lines[-1] == "  -> rtt_walk: there is no level 3 table for ipa"


def test_nothing_refused_has_no_why() -> None:
    assert execute(Session(), "why") == ["no call was refused"]


def test_help_lists_verbs_commands_and_the_conditions_of_one() -> None:
    verbs = "\n".join(execute(Session(), "help"))
    assert all(name in verbs for name in ("realm", "tree", "why"))
    assert [line.split()[0] for line in execute(Session(), "help rmi")] == [fid.name for fid in COMMANDS]
    assert "  rtt_live: the table maps something" in execute(Session(), "help RTT_DESTROY")


def test_the_host_writes_and_reads_its_own_memory_only() -> None:
    session = after("write 0x880000000 0123", "GRANULE_DELEGATE 0x880001000")
    assert execute(session, "read $dram 2") == ["0x880000000  01 23"]
    with pytest.raises(UserMistake, match="granule protection fault"):
        execute(session, "read 0x880001000")
    with pytest.raises(UserMistake, match="granule protection fault"):
        execute(session, "write 0x880001000 00")


@pytest.mark.parametrize(
    "line",
    [
        "realm s2sz", "realm colour=3", "realm s2sz=300", "realm roots=99", "tables", "tables 0", "ram 0", "page",
        "rec", "activate", "enter", "tree", "tree 0", "set rd", "set 1 2", "write 0x880000000 xyz", "write",
        "read 0 8192", "enter rsi", "'", "help NOTHING",
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense_says_what_would(line: str) -> None:
    with pytest.raises(UserMistake) as caught:
        execute(Session(), line)
    assert caught.value.hint


def test_a_piped_shell_does_its_lines_and_names_the_line_that_makes_no_sense() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "rmm", "shell"],
        input="realm\n# a comment\n\ntree\nquit\nnever\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "└─ level 1 table" in done.stdout
    wrong = run("shell", stdin="realm\nfrobnicate\n")
    assert isinstance(wrong.exception, UserMistake)
    assert wrong.exception.message.startswith("standard input:2: ")


words = st.sampled_from(
    [*verbs_of(Session("suggested", "2.0")), *(fid.name for fid in (*Rmi, *Rmi2)), "0", "1", "-1", "$rd", "$rec",
     "0x1000", "2M", hex(DRAM.base), "s2sz=48", "planes=1", "start=0", ",", "load", "rsi", "say", "HOST_CALL",
     "flags=0"]
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(words, min_size=1, max_size=6), max_size=12), st.sampled_from(["1.0", "2.0"]))
def test_no_line_raises_anything_but_a_mistake(lines: list[list[str]], edition: str) -> None:
    session = after("realm", "rec", edition=edition)
    for line in lines:
        try:
            assert all(isinstance(text, str) for text in execute(session, " ".join(line)))
        except (UserMistake, Stopped):
            continue


def test_a_2_0_call_is_refused_before_activation_and_says_so() -> None:
    done = run("call", "--edition", "2.0", "GRANULE_RANGE_DELEGATE", "0x880000000", "0x880002000")
    assert done.exit_code == 1
    assert "ERROR_GLOBAL" in done.stdout
    assert "why: rmm_state: RMM_ACTIVATE has not been called" in done.stdout
    words = ("RMM_ACTIVATE", "+", "GRANULE_RANGE_DELEGATE", "0x880000000", "0x880002000", "--json")
    answer = json.loads(run("call", "--edition", "2.0", *words).stdout)["calls"][-1]
    assert (answer["answer"], answer["outputs"]) == ("SUCCESS", {"out_top": "0x880002000"})


def test_a_2_0_realm_is_built_by_hand_with_a_donated_rec_and_runs() -> None:
    session = after(*A_REALM, edition="2.0")
    assert "│  │  │  ├─ 0x200000 .. 0x201000  ASSIGNED RAM -> 0x890006000" in execute(session, "tree")
    made = [(call.name, call.x[0]) for call in session.calls]
    assert [name for name, _ in made[-5:-1]] == ["REC_CREATE", "GRANULE_RANGE_DELEGATE", "OP_MEM_DONATE", "OP_CONTINUE"]
    assert execute(session, "enter rsi VERSION 0x10001")[-1].split()[2:] == ["0x0", "0x10001", "0x10001", "0x0"]
    assert any(line.endswith("16  REC_AUX") for line in execute(session, "granules"))
    ended = [*execute(session, "drop"), *execute(session, "unmap 0x200000 0x400000")]
    assert any("OP_MEM_RECLAIM" in line for line in ended)
    with pytest.raises(Stopped) as stopped:
        execute(session, "destroy")
    assert "why: realm_live_rtt" in stopped.value.lines[-1]
    for line in ("RTT_DESTROY $rd 0x200000 3", "RTT_DESTROY $rd 0 2", "destroy"):
        execute(session, line)
    assert execute(session, "realms") == ["there is no Realm"]


def test_what_an_interrupt_leaves_behind_is_listed_drawn_and_continued() -> None:
    session = after("realm", "tables 0", "GRANULE_RANGE_DELEGATE 0x880000000 0x880002000", "irq 1", edition="2.0")
    line = execute(session, "RTT_DATA_MAP $rd 0 0x2000 1 0x880000008")
    assert "-> INCOMPLETE handle=0x0" in line[0]
    assert execute(session, "ops") == ["operation 0: RTT_DATA_MAP, waits for OP_CONTINUE"]
    assert any(text.endswith("DRAINING EMPTY held by operation 0") for text in execute(session, "tree"))
    execute(session, "RTT_DATA_MAP_INIT $rd 0x880001000 0 0x880004000 0")
    assert execute(session, "why")[-1] == "  -> held: a stateful operation holds the page"
    assert "INCOMPLETE" in execute(session, "OP_CONTINUE 0 0")[0]
    execute(session, "irq off")
    assert "SUCCESS" in execute(session, "OP_CONTINUE 0 0")[0]
    execute(session, "irq")
    assert [text.split("(")[0] for text in execute(session, "page 0x4000")][1:] == ["RTT_DATA_MAP", "RTT_DATA_MAP"]
    assert execute(session, "ops") == ["no operation is under way"]


def test_planes_have_trees_of_their_own_that_are_drawn() -> None:
    session = after("realm planes=1 flags1=1", "tables 0 2 1", edition="2.0")
    drawn = execute(session, "tree")
    assert "auxiliary tree 1" in drawn
    assert sum("level 2 table" in line for line in drawn) == 1
    assert "1 auxiliary plane(s), MECID 1" in execute(session, "realms")[0]


def test_help_of_2_0_lists_its_commands_and_conditions() -> None:
    session = Session("suggested", "2.0")
    assert [line.split()[0] for line in execute(session, "help rmi")] == [fid.name for fid in COMMANDS_2_0]
    assert "  handles: every context for stateful operations is taken" in execute(session, "help RTT_DATA_MAP")
    assert any(line.startswith("share IPA") for line in execute(session, "help"))


@pytest.mark.parametrize("line", ["realm planes=4", "realm flags=1 colour=2", "unmap 0", "share", "irq x", "drop"])
def test_a_2_0_line_that_makes_no_sense_says_what_would(line: str) -> None:
    with pytest.raises(UserMistake) as caught:
        execute(Session("suggested", "2.0"), line)
    assert caught.value.hint
