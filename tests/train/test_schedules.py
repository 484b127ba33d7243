"""Schedules against a loop in float64 that knows nothing of Optax, over lengths down to one step."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcv.train import Constant, Cosine, OneCycle, Optimizer, Polynomial, Step

PEAK = 2.0
THOUSANDTHS = st.integers(0, 1000).map(lambda k: k / 1000)
FRACTIONS = st.integers(1, 999).map(lambda k: k / 1000)


def rates(schedule, total_steps):
    rate = Optimizer(learning_rate=PEAK, schedule=schedule).rate(total_steps)
    return [float(rate(step)) for step in range(total_steps + 2)]


def exactly(thousandths):
    return Fraction(thousandths).limit_denominator(1000)


def warmed_up(schedule, step, top, decay):
    """`top` is the rate at which the warm-up ends, `decay` the rate so many steps later."""
    if step < schedule.warmup_steps:
        return top * (step + 1) / schedule.warmup_steps
    return decay(step - schedule.warmup_steps)


def stepwise(schedule, step, total_steps):
    def decay(after):
        rate = PEAK
        for fraction in schedule.at:
            if after + schedule.warmup_steps >= round(fraction * total_steps):
                rate *= schedule.factor
        return rate

    return warmed_up(schedule, step, PEAK, decay)


def half_cosine(begin, end, progress):
    return end + (begin - end) * (1 + math.cos(math.pi * progress)) / 2


def one_cycle(schedule, step, total_steps):
    total = max(total_steps - schedule.warmup_steps, 1)
    top = math.floor(exactly(schedule.rise) * total)
    first = schedule.start * PEAK

    def cycle(after):
        if after < top:
            return half_cosine(first, PEAK, after / top)
        falling = 0.0 if top == total else min((after - top) / (total - top), 1.0)
        return half_cosine(PEAK, first * schedule.end, falling)

    return warmed_up(schedule, step, first, cycle)


def cosine(schedule, step, total_steps):
    total = max(total_steps - schedule.warmup_steps, 1)
    return warmed_up(
        schedule,
        step,
        PEAK,
        lambda after: half_cosine(PEAK, schedule.end * PEAK, min(after / total, 1.0)),
    )


def polynomial(schedule, step, total_steps):
    last = math.ceil(exactly(schedule.until) * total_steps)
    total = max(last - schedule.warmup_steps, 1)

    def decay(after):
        left = (1 - min(after / total, 1.0)) ** schedule.power
        return PEAK * (schedule.end + (1 - schedule.end) * left)

    return warmed_up(schedule, step, PEAK, decay)


def check(oracle, schedule, total_steps):
    wanted = [oracle(schedule, step, total_steps) for step in range(total_steps + 2)]
    assert rates(schedule, total_steps) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


@given(
    at=st.lists(FRACTIONS | st.sampled_from([0.25, 0.5, 0.75]), max_size=5),
    factor=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),
    warmup_steps=st.integers(0, 15),
    total_steps=st.integers(1, 25),
)
def test_every_milestone_of_a_step_schedule_multiplies(at, factor, warmup_steps, total_steps):
    schedule = Step(at=tuple(at), factor=factor, warmup_steps=warmup_steps)
    check(stepwise, schedule, total_steps)


@pytest.mark.parametrize(
    ("schedule", "total_steps", "wanted"),
    [
        (Step(at=(0.5, 0.5)), 2, [1, 0.01]),
        (Step(at=(0.50, 0.52)), 4, [1, 1, 0.01, 0.01]),  # both round to step 2
        (Step(at=(0.01, 0.02)), 2, [0.01, 0.01]),  # at step 0
        (Step(at=(0.2, 0.4, 0.8), warmup_steps=3), 5, [1 / 3, 2 / 3, 1, 0.01, 0.001]),
        (Step(at=(0.8, 0.2)), 5, [1, 0.1, 0.1, 0.1, 0.01]),  # unsorted
        (Step(at=(0.99,)), 4, [1, 1, 1, 1]),  # rounds to the end, which no step reaches
    ],
)
def test_milestones_that_fall_on_one_step_lose_no_factor(schedule, total_steps, wanted):
    found = rates(schedule, total_steps)[: len(wanted)]
    assert found == pytest.approx([PEAK * factor for factor in wanted], rel=1e-5)


@given(
    rise=THOUSANDTHS,
    start=st.floats(0, 1),
    end=st.floats(0, 1),
    warmup_steps=st.integers(0, 12),
    total_steps=st.integers(1, 25),
)
def test_a_cycle_with_pieces_of_any_length(rise, start, end, warmup_steps, total_steps):
    schedule = OneCycle(rise=rise, start=start, end=end, warmup_steps=warmup_steps)
    check(one_cycle, schedule, total_steps)


def test_a_cycle_that_only_rises_reaches_its_peak():
    assert rates(OneCycle(rise=1.0), 4)[4] == pytest.approx(PEAK)
    assert rates(OneCycle(rise=0.0), 4)[0] == pytest.approx(PEAK)
    assert rates(OneCycle(rise=0.29), 100)[29] == pytest.approx(PEAK)  # 0.29 * 100 < 29


@given(end=st.floats(0, 1), warmup_steps=st.integers(0, 12), total_steps=st.integers(1, 25))
def test_half_a_cosine_of_any_length(end, warmup_steps, total_steps):
    check(cosine, Cosine(end=end, warmup_steps=warmup_steps), total_steps)


@given(
    power=st.sampled_from([0.5, 1.0, 2.0]),
    end=st.floats(0, 1),
    until=FRACTIONS | st.just(1.0),
    warmup_steps=st.integers(0, 12),
    total_steps=st.integers(1, 25),
)
def test_a_polynomial_of_any_length(power, end, until, warmup_steps, total_steps):
    schedule = Polynomial(power=power, end=end, until=until, warmup_steps=warmup_steps)
    check(polynomial, schedule, total_steps)


def test_a_polynomial_ends_where_it_is_told_to():
    assert rates(Polynomial(until=0.07), 100)[7] == 0.0  # 0.07 * 100 > 7
    assert rates(Constant(warmup_steps=3), 2) == pytest.approx([PEAK / 3, PEAK * 2 / 3, PEAK, PEAK])


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Step(factor=-0.1), "schedule.factor is -0.1"),
        (Step(factor=math.nan), "schedule.factor is nan"),
        (Step(at=(0.5, 1.0)), "schedule.at is"),
        (OneCycle(rise=1.2), "schedule.rise is 1.2"),
        (OneCycle(start=-0.1), "schedule.start is -0.1"),
        (OneCycle(end=math.nan), "schedule.end is nan"),
    ],
)
def test_a_setting_out_of_range_is_named(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedule.rate(PEAK, 10)
