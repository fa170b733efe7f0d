"""While the fleet's emergency stop stands, a gateway changes no model, whatever it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from foreshock_converter.sample import tiny_model
from foreshock_fleet.directives import DirectiveSigner
from foreshock_wire.updates import DeviceState, Halt
from tests.agent.centre import Centre, Rig, Signing, ns, sha_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from foreshock_wire.updates import Envelope


@pytest.fixture(scope="module")
def model_a() -> bytes:
    return tiny_model(seed=1)


@pytest.fixture
def rig(tmp_path: Path, model_a: bytes) -> Iterator[Rig]:
    signing = Signing(tmp_path / "fleet")
    signing.release(model_a)
    one = Rig(tmp_path / "gateway", Centre(signing))
    yield one
    one.stop()


def stop(signing: Signing, number: int, *, halted: bool = True) -> Envelope:
    halt = Halt(number=number, halted=halted, reason="a bad release", issued_ns=ns(signing.now))
    return DirectiveSigner(signing.signed, signing.keys).sign_halt(halt)


def hear(rig: Rig, envelope: Envelope) -> None:
    assert rig.updater is not None
    rig.updater.on_halt(envelope.to_bytes())


def test_a_stop_in_the_middle_leaves_the_directive_open_and_its_end_lets_it_go_on(
    rig: Rig, model_a: bytes
) -> None:
    signing = rig.centre.signing
    rig.centre.tamper = lambda _, __: None
    rig.want(signing.directive(model_a))
    rig.centre.state_of(1, DeviceState.DOWNLOADING)
    hear(rig, stop(signing, 1))
    rig.centre.problem("the fleet is stopped: a bad release")
    rig.centre.tamper = lambda _, block: block
    rig.restart()
    rig.centre.reports.clear()
    rig.want(signing.directive(model_a))
    rig.want(signing.directive(model_a, 2))
    assert rig.centre.problem("the fleet is stopped").state is DeviceState.DOWNLOADING
    assert not rig.swapped
    hear(rig, stop(signing, 1, halted=False))
    hear(rig, stop(signing, 2, halted=False))
    rig.centre.wait_for(lambda report: not report.problem)
    rig.want(signing.directive(model_a, 2))
    assert rig.centre.end_of(2).state is DeviceState.COMMITTED
    assert rig.swapped == [sha_of(model_a)]


def test_a_gateway_that_was_never_told_anything_verifies_a_stop(rig: Rig) -> None:
    hear(rig, stop(rig.centre.signing, 5))
    rig.centre.problem("the fleet is stopped")
    assert (rig.store.stop.number, rig.store.stop.halted) == (5, True)


def test_a_stop_by_other_keys_or_of_another_kind_is_none(
    rig: Rig, model_a: bytes, tmp_path: Path
) -> None:
    hear(rig, stop(Signing(tmp_path / "others"), 9))
    rig.centre.problem("an emergency stop is not followed")
    hear(rig, rig.centre.signing.directive(model_a, 9))
    rig.want(rig.centre.signing.directive(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert rig.store.stop.number == 0


def test_nonsense_instead_of_a_stop_is_counted(rig: Rig, model_a: bytes) -> None:
    assert rig.updater is not None
    rig.updater.on_halt(b"\xff{")
    rig.want(rig.centre.signing.directive(model_a))
    assert rig.centre.end_of(1).state is DeviceState.COMMITTED
    assert rig.updater.refused_messages == 1
