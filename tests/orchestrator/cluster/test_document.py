"""The YAML tree: places, YAML 1.2 scalars, limits, and no exception but one for whatever text."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.cluster import document
from orchestrator.cluster.document import DocumentRefused, Mark, compose, place, plain


def refusal(text: str) -> tuple[Mark, str]:
    with pytest.raises(DocumentRefused) as caught:
        compose(text)
    return caught.value.flaws[0].mark, caught.value.flaws[0].message


def test_keys_and_values_know_their_line_and_column() -> None:
    root = compose("a:\n  b: [1, {c: two}]\n").root
    assert place(root, ("a", "b", 1, "c"), at_key=True) == Mark(2, 11)
    assert place(root, ("a", "b", 1, "c"), at_key=False) == Mark(2, 14)
    assert place(root, ("a", "b", 0), at_key=False) == Mark(2, 7)


def test_what_is_absent_is_placed_at_the_key_of_its_owner() -> None:
    root = compose("a:\n  b: 1\n").root
    assert place(root, ("a", "missing"), at_key=False) == Mark(1, 1)
    assert place(root, ("a", "b", 7, "x"), at_key=False) == Mark(2, 3)


@pytest.mark.parametrize("word", ["no", "on", "yes", "off", "12:30", "0b1", "1_000", "2001-01-01", ".", "="])
def test_yaml_1_1_curiosities_stay_text(word: str) -> None:
    assert plain(compose(f"a: {word}").root) == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"), [("012", 12), ("0o17", 15), ("0x1F", 31), ("-5", -5), ("true", True), ("~", None), ('"5"', "5")]
)
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(word: str, value: object) -> None:
    assert plain(compose(f"a: {word}").root) == {"a": value}


def test_decimal_numbers_stay_text_so_that_no_float_ever_appears() -> None:
    assert plain(compose("a: [1.0, 1e3, .inf]").root) == {"a": ["1.0", "1e3", ".inf"]}


def test_an_alias_stands_for_its_value_and_counts_as_often_as_it_is_used() -> None:
    document_read = compose("a: &x {b: 1}\nc: *x\n")
    assert plain(document_read.root) == {"a": {"b": 1}, "c": {"b": 1}}
    assert document_read.root.size == 1 + 2 * 2


def test_an_expansion_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    assert "larger than" in refusal("\n".join(lines))[1]


def test_a_value_that_contains_itself_is_refused() -> None:
    assert refusal("a: &x [1, *x]") == (Mark(1, 11), "'x' contains itself")


def test_deep_nesting_is_refused_before_it_costs_anything() -> None:
    assert refusal("[" * 100_000) == (Mark(1, document.DEEPEST + 1), "nested deeper than 32 levels")


def test_depth_through_aliases_counts_too() -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40))
    assert "deeper than 32" in refusal(text)[1]


def test_a_long_text_is_refused_unread() -> None:
    assert "longer than" in refusal("#" * (document.LARGEST_TEXT + 1))[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing\n", "the file is empty"),
        ("a: 1\n---\nb: 2\n", "a second document starts here"),
        ("a: *x", "no anchor is called 'x'"),
        ("{a: 1}: 2", "a key must be a plain text"),
        ("a: \x00", "a character that YAML does not allow"),
    ],
)
def test_texts_that_are_no_single_document_are_refused(text: str, message: str) -> None:
    assert refusal(text)[1] == message


def test_every_duplicate_key_is_told_with_the_line_of_the_first() -> None:
    flaws = compose("a: 1\nb: {c: 1, c: 2}\na: 3\n").flaws
    assert [(flaw.mark, flaw.message, flaw.hint) for flaw in flaws] == [
        (Mark(2, 11), "duplicate key 'c'", "it already stands in line 2"),
        (Mark(3, 1), "duplicate key 'a'", "it already stands in line 1"),
    ]


YAMLISH = st.text(alphabet="ab1: -[]{},&*!|>'\"%#\n\t?~<\\\u2028\ufeff\x00é", max_size=80)


@settings(max_examples=300)
@given(YAMLISH | st.text(max_size=80))
@example("%YAML 999999999999999999999999.1\n---\na")
@example('"\\UFFFFFFFF"')
@example("%TAG ! !\n--- !<")
@example("!<%FF> a")
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        plain(compose(text).root)
    except DocumentRefused as refused:
        for flaw in refused.flaws:
            assert 1 <= flaw.mark.line <= len(text) + 1
            assert 1 <= flaw.mark.column <= len(text) + 2
            assert flaw.message


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text("ab1: -~#'\n", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc: ", max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100)
@given(TREES.filter(lambda tree: tree is not None))
def test_json_is_yaml_and_is_read_back_equal(tree: object) -> None:
    assert plain(compose(json.dumps(tree)).root) == tree
