"""How many connections a relay may have, without a clock."""

from hypothesis import given
from hypothesis import strategies as st

from syndicate.deliver.pace import Allowance


def used(most: int, in_use: int) -> Allowance:
    allowance = Allowance(most)
    allowance.in_use = in_use
    return allowance


def test_trouble_halves_what_is_in_use_and_not_what_might_be() -> None:
    allowance = used(20, 6)
    allowance.halve(100.0)
    assert allowance.count == 3
    assert allowance.is_exceeded


def test_one_connection_is_left_whatever_happens() -> None:
    allowance = used(20, 1)
    for now_s in range(100):
        allowance.halve(now_s)
        allowance.settle_for(0, now_s)
    assert allowance.count == 1


def test_complaints_within_a_second_are_one() -> None:
    allowance = used(20, 20)
    for now_s in (100.0, 100.2, 100.9):
        allowance.halve(now_s)
    assert allowance.count == 10
    allowance.halve(101.0)
    assert allowance.count == 5


def test_one_more_is_tried_for_each_calm_minute_until_all_are_back() -> None:
    allowance = used(4, 4)
    allowance.halve(100.0)
    assert allowance.grows_at_s == 160.0
    assert [allowance.grow(now_s) for now_s in (159.9, 160.0, 160.1, 219.9, 220.0)] == [
        False,
        True,
        False,
        False,
        True,
    ]
    assert allowance.count == 4
    assert allowance.grows_at_s == float("inf")
    assert not allowance.grow(1e9)


def test_trouble_makes_the_minute_begin_anew() -> None:
    allowance = used(4, 4)
    allowance.halve(100.0)
    allowance.halve(100.5)
    assert not allowance.grow(160.0)
    assert allowance.grow(160.5)


def test_a_relay_that_refuses_one_more_is_left_with_those_it_took() -> None:
    allowance = used(20, 5)
    allowance.settle_for(5, 100.0)
    assert allowance.count == 5
    assert not allowance.is_exceeded


@given(
    most=st.integers(1, 50),
    steps=st.lists(
        st.tuples(st.sampled_from(["halve", "settle", "grow"]), st.floats(0, 90), st.integers(0, 50))
    ),
)
def test_there_is_always_one_and_never_more_than_most(most: int, steps: list[tuple[str, float, int]]) -> None:
    allowance, now_s = Allowance(most), 0.0
    for what, step_s, in_use in steps:
        now_s += step_s
        allowance.in_use = in_use
        if what == "halve":
            allowance.halve(now_s)
        elif what == "settle":
            allowance.settle_for(in_use, now_s)
        else:
            allowance.grow(now_s)
        assert 1 <= allowance.count <= most
    allowance.restore()
    assert allowance.count == most
