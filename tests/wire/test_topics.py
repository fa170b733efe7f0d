"""Topics: what is made is taken apart again, filters catch their own, nonsense is refused."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foreshock_wire import topics
from foreshock_wire.errors import InvalidIdError, MessageError
from foreshock_wire.ids import ID_PATTERN, RESERVED_SITES, SHARDS, check_id, shard_of
from foreshock_wire.topics import Down, Gateway, Stream, Up

if TYPE_CHECKING:
    from collections.abc import Callable

IDS = st.from_regex(ID_PATTERN, fullmatch=True)
SITES = IDS.filter(lambda site: site not in RESERVED_SITES)
GATEWAYS = st.builds(Gateway, SITES, IDS)
SHA256 = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
WORDS = "foreshock v1 v2 up down block report readings machines score alarm command 0 7 gw up! A"
LEVELS = st.sampled_from([*WORDS.split(), "", "0" * 64, "٣", "9" * 5000])
PARSERS: list[Callable[[str], object]] = [
    topics.parse_uplink,
    topics.parse_up,
    topics.parse_block,
    topics.machine_of,
]


def matches(pattern: str, topic: str) -> bool:
    """MQTT's own rule for filters without `#` (MQTT 3.1.1, section 4.7)."""
    levels, filters = topic.split("/"), pattern.split("/")
    return len(levels) == len(filters) and all(
        want in ("+", level) for want, level in zip(filters, levels, strict=True)
    )


@given(at=GATEWAYS, stream=st.sampled_from(Stream))
def test_uplink_round_trips_and_only_its_shard_catches_it(at: Gateway, stream: Stream) -> None:
    topic = topics.uplink(at, stream)
    assert topics.parse_uplink(topic) == (at, stream)
    catching = [shard for shard in range(SHARDS) if matches(topics.shard_filter(shard), topic)]
    assert catching == [shard_of(at.gateway)]


@given(at=GATEWAYS, what=st.sampled_from(Up))
def test_up_round_trips_and_its_filter_catches_it(at: Gateway, what: Up) -> None:
    topic = topics.up(at, what)
    assert topics.parse_up(topic) == (at, what)
    assert [kind for kind in Up if matches(topics.any_up(kind), topic)] == [what]


@given(at=GATEWAYS, sha256=SHA256, index=st.integers(0, 999_999_999))
def test_block_round_trips_and_its_filter_catches_it(at: Gateway, sha256: str, index: int) -> None:
    topic = topics.block(at, sha256, index)
    assert topics.parse_block(topic) == (sha256, index)
    assert matches(topics.any_block(at), topic)


@given(at=GATEWAYS, machine=IDS)
def test_machine_topics_round_trip(at: Gateway, machine: str) -> None:
    made = [topics.score(at, machine), topics.alarm(at, machine), topics.alarm_command(at, machine)]
    filters = [topics.any_score(at), topics.any_alarm(at), topics.any_alarm_command(at)]
    assert [topics.machine_of(topic) for topic in made] == [machine] * 3
    for i, topic in enumerate(made):
        assert [k for k, pattern in enumerate(filters) if matches(pattern, topic)] == [i]


@given(at=GATEWAYS, other=GATEWAYS, stream=st.sampled_from(Stream), machine=IDS, sha256=SHA256)
def test_no_two_arrows_share_a_topic(
    at: Gateway, other: Gateway, stream: Stream, machine: str, sha256: str
) -> None:
    assume(at != other)
    every = [
        topic
        for gateway in (at, other)
        for topic in (
            topics.status(gateway),
            topics.score(gateway, machine),
            topics.alarm(gateway, machine),
            topics.alarm_command(gateway, machine),
            topics.uplink(gateway, stream),
            *(topics.down(gateway, what) for what in Down),
            *(topics.up(gateway, what) for what in Up),
            topics.block(gateway, sha256, 0),
        )
    ]
    assert len(set(every)) == len(every)
    shards = [topics.shard_filter(shard) for shard in range(SHARDS)]
    uploads = {topic for topic in every if any(matches(shard, topic) for shard in shards)}
    assert uploads == {topics.uplink(at, stream), topics.uplink(other, stream)}


@pytest.mark.parametrize("parse", PARSERS)
@given(levels=st.lists(LEVELS, max_size=9) | st.lists(st.text(max_size=9), max_size=9))
def test_any_topic_parses_or_is_a_message_error(
    parse: Callable[[str], object], levels: list[str]
) -> None:
    with suppress(MessageError):
        parse("/".join(levels))


@pytest.mark.parametrize(
    ("parse", "topic"),
    [
        (topics.parse_uplink, f"foreshock/v1/up/{(shard_of('gw') + 1) % SHARDS}/north/gw/alarms"),
        (topics.parse_uplink, f"foreshock/v1/up/0{shard_of('gw')}/north/gw/alarms"),
        (topics.parse_uplink, f"foreshock/v1/up/{shard_of('gw')}/north/gw/gossip"),
        (topics.parse_uplink, f"foreshock/v1/up/{shard_of('gw')}/up/gw/alarms"),
        (topics.parse_uplink, f"foreshock/v1/up/{shard_of('gw')}/North/gw/alarms"),
        (topics.parse_uplink, f"foreshock/v2/up/{shard_of('gw')}/north/gw/alarms"),
        (topics.parse_up, "foreshock/v1/north/GW/up/report"),
        (topics.parse_up, "foreshock/v1/north/gw/up/rumour"),
        (topics.parse_up, "other/v1/north/gw/up/report"),
        (topics.parse_block, f"foreshock/v1/n/gw/down/block/{'a' * 63}/0"),
        (topics.parse_block, f"foreshock/v1/n/gw/down/block/{'a' * 64}/٣"),
        (topics.parse_block, f"foreshock/v1/n/gw/down/block/{'a' * 64}/01"),
        (topics.parse_block, f"foreshock/v1/n/gw/down/block/{'a' * 64}/-1"),
        (topics.machine_of, "foreshock/v1/n/gw/machines/UPPER/score"),
        (topics.machine_of, "foreshock/v1/n/gw/machines/m1/secret"),
        (topics.machine_of, "foreshock/v1/n/gw/machines/m1"),
    ],
)
def test_topics_that_look_right_are_refused(parse: Callable[[str], object], topic: str) -> None:
    with pytest.raises(MessageError, match="topic"):
        parse(topic)


@pytest.mark.parametrize("value", ["", "A", "-a", ".a", "a/b", "a+", "a#", "a b", "a\n", "ü"])
def test_an_id_outside_the_alphabet_is_refused(value: str) -> None:
    with pytest.raises(InvalidIdError, match=r"gateway .* is not valid"):
        check_id(value, "gateway")


def test_an_id_has_at_most_63_characters() -> None:
    assert check_id("a" * 63) == "a" * 63
    with pytest.raises(InvalidIdError, match="1 to 63"):
        check_id("a" * 64)


def test_a_site_cannot_shadow_the_upload_topics() -> None:
    with pytest.raises(InvalidIdError, match="reserved"):
        Gateway("up", "3")


def test_shards_are_stable_for_ever() -> None:
    """Another hash would move gateways to workers that do not have their marks."""
    assert {name: shard_of(name) for name in ("gw-1", "gw-2", "press-line.7", "a")} == {
        "gw-1": 6,
        "gw-2": 12,
        "press-line.7": 7,
        "a": 3,
    }
    assert SHARDS == 16
