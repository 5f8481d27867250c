"""The corpus: every case gets exactly its label from our verifier, and the same seed gives the same bytes."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest

from attestation import forge
from attestation.errors import RefusalReason
from attestation.forge_recipes import RECIPES, Kind
from attestation.stores import read_anchor_store, read_reference_store, write_anchor_store, write_reference_store
from attestation.trust import Tier


@pytest.fixture(scope="module")
def corpus() -> forge.Corpus:
    """Two rounds: every recipe twice, on different machines."""
    return forge.forge(b"a seed", 2 * len(RECIPES))


def test_every_case_gets_exactly_its_label(corpus: forge.Corpus) -> None:
    anchors, references = corpus.anchors(), corpus.references()
    wrong = {case.file: said for case in corpus.cases if (said := forge.judge(case, anchors, references))}
    assert not wrong
    print(f"{len(corpus.cases)} forged tokens, {sum(not case.accepted for case in corpus.cases)} to be refused")


def test_the_stores_that_go_with_a_corpus_judge_it_alike(corpus: forge.Corpus) -> None:
    anchors = read_anchor_store(write_anchor_store(corpus.anchors()))
    references = read_reference_store(write_reference_store(corpus.references()))
    assert not any(forge.judge(case, anchors, references) for case in corpus.cases[: len(RECIPES)])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    one, again, other = (forge.forge(seed, 40) for seed in (b"1", b"1", b"2"))
    assert [case.token for case in one.cases] == [case.token for case in again.cases]
    shared = {case.token for case in one.cases} & {case.token for case in other.cases}
    assert shared <= {b""}


def test_a_longer_corpus_begins_like_a_shorter_one() -> None:
    short, long = forge.forge(b"1", 10), forge.forge(b"1", 20)
    assert long.cases[:10] == short.cases


def test_every_kind_of_refusal_and_every_status_occurs(corpus: forge.Corpus) -> None:
    assert {case.kind for case in corpus.cases} == set(Kind)
    assert {case.reason for case in corpus.cases if case.reason} == {
        reason.value
        for reason in (
            RefusalReason.MALFORMED, RefusalReason.CLAIMS, RefusalReason.PROFILE, RefusalReason.UNKNOWN_INSTANCE,
            RefusalReason.UNKNOWN_KEY, RefusalReason.SIGNATURE, RefusalReason.BINDING, RefusalReason.FRESHNESS,
        )
    }  # fmt: skip
    statuses = {case.platform_status for case in corpus.cases if case.accepted}
    assert statuses == {tier.text for tier in (Tier.AFFIRMING, Tier.WARNING, Tier.CONTRAINDICATED)}


def test_no_two_cases_are_the_same_token_except_the_empty_one(corpus: forge.Corpus) -> None:
    digests = [hashlib.sha256(case.token).digest() for case in corpus.cases if case.token]
    # one good token occurs under two names: the recommended profile, and the lifecycle that happens to be its own
    assert len(digests) - len(set(digests)) <= 2


def test_the_manifest_is_plain_data_with_one_row_a_case(corpus: forge.Corpus) -> None:
    manifest = json.loads(json.dumps(corpus.manifest()))
    assert len(manifest["cases"]) == len(corpus.cases) == len({row["file"] for row in manifest["cases"]})
    assert all(("reason" in row) == (row["verdict"] == "refused") for row in manifest["cases"])


def test_a_wrong_label_is_told(corpus: forge.Corpus) -> None:
    anchors, references = corpus.anchors(), corpus.references()
    good = next(case for case in corpus.cases if case.kind is Kind.GOOD)
    bad = next(case for case in corpus.cases if case.reason == "binding")
    for case, word in (
        (msgspec.structs.replace(good, reason="binding"), "accepted"),
        (msgspec.structs.replace(bad, reason=""), "refused"),
        (msgspec.structs.replace(bad, reason="signature"), "instead of signature"),
        (msgspec.structs.replace(bad, label=99), "instead of 99"),
        (msgspec.structs.replace(good, platform_status="warning"), "appraised affirming"),
    ):
        assert word in forge.judge(case, anchors, references)


def test_only_the_kinds_asked_for_are_made() -> None:
    corpus = forge.forge(b"1", 5, [Kind.REPLAY])
    assert {case.kind for case in corpus.cases} == {Kind.REPLAY}


@pytest.mark.parametrize("count", [0, -1, forge.MAX_CASES + 1])
def test_a_corpus_of_no_size_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to"):
        forge.forge(b"1", count)
