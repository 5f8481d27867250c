"""Event logs: the recorded ones are read and replayed, built ones explain registers, broken ones are refused."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import msgspec
import pytest

from attestation import eventlog, rim
from attestation.claims import RealmClaims
from attestation.errors import Malformed, RefusalReason, Refused, Untrusted
from attestation.eventlog import EventType, RealmTag
from attestation.rim import HashAlgorithm, RealmCreate, RecCreate, RimRule

SHA_256, SHA_512 = 0x0B, 0x0D


def spec(*algorithms: tuple[int, int]) -> bytes:
    body = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 106, 2, len(algorithms))
    body += b"".join(struct.pack("<HH", *each) for each in algorithms) + b"\0"
    return struct.pack("<II20sI", 0, 3, b"", len(body)) + body


def event(pcr: int, kind: int, data: bytes, **digests: bytes) -> bytes:
    numbers = {"sha256": SHA_256, "sha512": SHA_512, "strange": 0x77}
    head = struct.pack("<III", pcr, kind, len(digests))
    head += b"".join(struct.pack("<H", numbers[name]) + digest for name, digest in digests.items())
    return head + struct.pack("<I", len(data)) + data


def tag(number: int, body: bytes) -> bytes:
    return event(0, EventType.EVENT_TAG, struct.pack("<II", number, len(body)) + body, sha256=bytes(32))


def blob(name: bytes, base: int, content: bytes, *, measured: bool = True) -> bytes:
    data = bytes([len(name)]) + name + struct.pack("<QQ", base, len(content))
    digests = {"sha256": hashlib.sha256(content).digest()} if measured else {}
    return event(0, EventType.POST_CODE2, data, **digests)


HEAD = spec((SHA_256, 32))
CREATE = tag(RealmTag.REALM_CREATE, struct.pack("<Q6B", 0, 33, 0, 5, 5, 0, 0))
D1, D2, D3 = (hashlib.sha256(text).digest() for text in (b"one", b"two", b"three"))


def test_the_recorded_creation_has_its_recorded_rim(vectors: Path) -> None:
    folder = vectors / "attestation" / "realm"
    expected = json.loads((folder / "primitives.json").read_text())["event_log"]
    log = eventlog.read((folder / expected["file"]).read_bytes())
    assert not log.truncated
    assert log.algorithms == {SHA_256: 32, SHA_512: 64}
    assert eventlog.replay_rim(log, {}).hex() == expected["rim"]
    assert {rem.hex() for rem in eventlog.replay_rems(log, HashAlgorithm.SHA_256)} == {expected["rem"]}
    assert eventlog.vm_version(log) == ("kvmtool", "", 1 << 30, 128)


def test_the_recorded_boot_log_of_a_real_machine_is_read(vectors: Path) -> None:
    log = eventlog.read((vectors / "attestation" / "realm" / "realm-bootlog.bin").read_bytes())
    blobs = [eventlog.read_blob(each) for each in log.events]
    assert [(each.name.rstrip("\0"), each.base) for each in blobs if each] == [
        ("KERNEL", 0x80000000), ("INITRD", 0x8ADDD3FC), ("DTB", 0x8FE00000),
    ]  # fmt: skip
    assert blobs[2] is not None
    assert blobs[2].size == 0x10000
    assert not log.truncated


def test_the_log_of_a_kvmtool_realm_replays_to_the_rim_of_the_measurement_tool(vectors: Path) -> None:
    folder = vectors / "attestation" / "realm"
    known = next(
        each for each in json.loads((folder / "rim-vectors.json").read_text())["vectors"] if each["id"] == "kvmtool-min"
    )
    tree = (folder / "dtb" / "kvmtool-min.dtb").read_bytes()
    rec = struct.pack("<QQ8Q", 1, 0, 0x8FE00000, *[0] * 7)
    data = HEAD + CREATE + tag(RealmTag.INIT_RIPAS, struct.pack("<QQ", 0x80000000, 512 << 20))
    data += blob(b"DTB", 0x8FE00000, tree) + tag(RealmTag.REC_CREATE, rec)
    log = eventlog.read(data)
    assert eventlog.replay_rim(log, eventlog.index_images({"dtb": tree})).hex() == known["rim"]
    assert list(eventlog.rim_events(log, eventlog.index_images({"dtb": tree})))[-1] == RecCreate(
        1, 0, (0x8FE00000, *[0] * 7)
    )


def test_unmeasured_data_extends_the_rim_by_its_addresses_alone() -> None:
    data = HEAD + CREATE + blob(b"LOG", 0x80001000, bytes(5000), measured=False)
    create = RealmCreate(s2sz=33, num_bps=5, num_wps=5)
    expected = rim.compute([create, rim.DataCreate(0x80001000, 0), rim.DataCreate(0x80002000, 0)])
    assert eventlog.replay_rim(eventlog.read(data), {}) == expected


def test_under_rmm_2_the_ripas_events_do_not_count() -> None:
    ripas = tag(RealmTag.INIT_RIPAS, struct.pack("<QQ", 0x80000000, 4096))
    with_ripas, without = eventlog.read(HEAD + CREATE + ripas), eventlog.read(HEAD + CREATE)
    assert eventlog.replay_rim(with_ripas, {}, RimRule.RMM_2_0) == eventlog.replay_rim(without, {}, RimRule.RMM_2_0)
    assert eventlog.replay_rim(with_ripas, {}) != eventlog.replay_rim(without, {})


def _chain(*digests: bytes) -> bytes:
    register = bytes(32)
    for digest in digests:
        register = hashlib.sha256(register + digest).digest()
    return register


def test_measured_events_extend_the_register_that_their_pcr_stands_for() -> None:
    data = HEAD + b"".join(event(pcr, 1, b"x", sha256=D1) for pcr in (0, 1, 7, 2, 6, 8, 15, 16, 23))
    rems = eventlog.replay_rems(eventlog.read(data), HashAlgorithm.SHA_256)
    assert rems == (_chain(D1, D1),) * 4


def test_the_order_of_events_matters_and_informative_events_do_not_count() -> None:
    data = HEAD + event(1, 1, b"", sha256=D1) + event(1, 3, b"", sha256=D3) + event(7, 1, b"", sha256=D2)
    assert eventlog.replay_rems(eventlog.read(data), HashAlgorithm.SHA_256)[0] == _chain(D1, D2)


def test_a_log_is_matched_with_a_token_register_by_register(realm_claims: RealmClaims) -> None:
    log = eventlog.read(HEAD + CREATE + event(1, 1, b"", sha256=D1) + event(16, 1, b"", sha256=D2))
    claims = msgspec.structs.replace(
        realm_claims,
        initial_measurement=rim.create(RealmCreate(s2sz=33, num_bps=5, num_wps=5)),
        extensible_measurements=(_chain(D1), bytes(32), bytes(32), _chain(D3)),
    )
    registers = eventlog.match(log, claims, {})
    assert [(register.name, register.explained) for register in registers] == [
        ("RIM", True), ("REM0", True), ("REM1", True), ("REM2", True), ("REM3", False),
    ]  # fmt: skip
    assert len(eventlog.match(log, claims)) == 4


def test_a_sha_512_realm_is_replayed_with_its_own_digests() -> None:
    digest = hashlib.sha512(b"one").digest()
    log = eventlog.read(spec((SHA_256, 32), (SHA_512, 64)) + event(1, 1, b"", sha256=D1, sha512=digest))
    rems = eventlog.replay_rems(log, HashAlgorithm.SHA_512)
    assert rems[0] == hashlib.sha512(bytes(64) + digest).digest()


def test_a_log_cut_anywhere_counts_up_to_its_last_whole_event() -> None:
    pieces = [CREATE, event(1, 1, b"abc", sha256=D1), event(7, 1, b"", sha256=D2)]
    whole = HEAD + b"".join(pieces)
    ends = [len(HEAD) + sum(map(len, pieces[:count])) for count in range(4)]
    for cut in range(len(HEAD), len(whole) + 1):
        log = eventlog.read(whole[:cut])
        assert len(log.events) == max(count for count, end in enumerate(ends) if end <= cut)
        # a cut that leaves nothing but zero bytes cannot be told from filling
        assert log.truncated == (cut not in ends and any(whole[max(end for end in ends if end <= cut) : cut]))


def test_zero_filling_ends_a_log() -> None:
    log = eventlog.read(HEAD + CREATE + bytes(4096))
    assert (len(log.events), log.truncated) == (1, False)


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "ends inside its specification"),
    "a header cut short": (HEAD[:-1], "ends inside its specification"),
    "no header": (CREATE + bytes(64), "does not start"),
    "another header": (HEAD.replace(b"Event03", b"Event02"), "not a crypto-agile"),
    "no algorithm": (spec(), "declares 0"),
    "too many algorithms": (spec(*[(number, 32) for number in range(100, 109)]), "declares 9"),
    "an algorithm twice": (spec((SHA_256, 32), (SHA_256, 32)), "declared twice"),
    "a wrong digest size": (spec((SHA_256, 20)), "cannot be 20"),
    "no digest size": (spec((0x77, 0)), "cannot be 0"),
    "a wrong header size": (HEAD[:28] + b"\x22" + HEAD[29:] + bytes(8), "does not fit"),
    "an undeclared digest": (HEAD + event(1, 1, b"", strange=bytes(32)), "not declared"),
    "too many digests": (HEAD + event(1, 1, b"", sha256=D1, sha512=bytes(64)), "carries 2"),
    "a digest twice": (
        spec((SHA_256, 32), (SHA_512, 64))
        + struct.pack("<III", 1, 1, 2)
        + (struct.pack("<H", SHA_256) + D1) * 2
        + bytes(4),
        "used twice",
    ),
    "a log beyond the limit": (HEAD + bytes(eventlog.MAX_BYTES), "exceeds the limit"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_log_is_refused_with_what_is_wrong(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(Malformed, match=message) as refused:
        eventlog.read(data)
    assert refused.value.offset is not None


def _ripas(base: int, size: int) -> bytes:
    return tag(RealmTag.INIT_RIPAS, struct.pack("<QQ", base, size))


UNREPLAYABLE: dict[str, tuple[bytes, str]] = {
    "no creation": (event(1, 1, b"", sha256=D1), "does not tell"),
    "data before creation": (blob(b"DTB", 0, b"x"), "before the creation"),
    "two creations": (CREATE + CREATE, "created twice"),
    "a creation cut short": (tag(1, bytes(13)), "REALM_CREATE event is 13 bytes, not 14"),
    "a tag that lies about its size": (event(0, 6, struct.pack("<II", 1, 13) + bytes(14), sha256=D1), "wrong size"),
    "a tag without size": (event(0, 6, bytes(7), sha256=D1), "too short"),
    "an unknown hash": (tag(1, struct.pack("<Q6B", 0, 33, 0, 5, 5, 0, 9)), "no known hash"),
    "an empty range": (CREATE + _ripas(0x80000000, 0), "not whole pages"),
    "half a page": (CREATE + _ripas(0x80000000, 2048), "not whole pages"),
    "a range beyond the address space": (CREATE + _ripas(0, 1 << 40), "not whole pages"),
    "a blob without name": (CREATE + event(0, EventType.POST_CODE2, b"", sha256=D1), "wrong size"),
    "an endless blob": (
        CREATE + event(0, EventType.POST_CODE2, b"\x01L" + struct.pack("<QQ", 0, 1 << 60)), "too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREPLAYABLE)
def test_a_log_that_cannot_be_replayed_is_refused(name: str) -> None:
    data, message = UNREPLAYABLE[name]
    with pytest.raises(Malformed, match=message):
        eventlog.replay_rim(eventlog.read(HEAD + data), {})


def test_a_log_that_would_take_forever_to_replay_is_refused() -> None:
    huge = tag(RealmTag.REALM_CREATE, struct.pack("<Q6B", 0, 52, 0, 5, 5, 0, 0)) + _ripas(0, 1 << 52) * 200
    with pytest.raises(Malformed, match="more than"):
        eventlog.replay_rim(eventlog.read(HEAD + huge), {})


def test_an_image_that_is_missing_or_of_another_size_is_refused() -> None:
    log = eventlog.read(HEAD + CREATE + blob(b"KERNEL", 0x80000000, b"good"))
    digest = hashlib.sha256(b"good").digest()
    for images in ({}, {digest: b"longer"}, eventlog.index_images({"kernel": b"evil"})):
        with pytest.raises(Untrusted) as refused:
            eventlog.replay_rim(log, images)
        assert refused.value.reason is RefusalReason.BINDING


def test_a_measured_event_without_the_realms_digest_is_refused() -> None:
    log = eventlog.read(HEAD + event(1, 1, b"", sha256=D1))
    with pytest.raises(Refused, match="no sha-512 digest"):
        eventlog.replay_rems(log, HashAlgorithm.SHA_512)
