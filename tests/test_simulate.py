"""Simulated time: what holds of every schedule, whatever is to be made and wherever."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill.errors import RedistillError
from redistill.performance.simulate import Delays, Job, Place, Room, Schedule, longest_chain, simulate

ONE = Room(1)
seconds = st.integers(0, 50).map(float)


@st.composite
def studies(draw: st.DrawFn, cores: int = 3, gpus: int = 2) -> list[Job]:
    """Jobs that wait for some of those before them."""
    jobs: list[Job] = []
    for i in range(draw(st.integers(1, 25))):
        after = draw(st.lists(st.integers(0, i - 1), max_size=3)) if i else []
        needs = Room(draw(st.integers(1, cores)), draw(st.integers(0, gpus)), draw(st.integers(0, 4)))
        jobs.append(
            Job(str(i), {"a": draw(seconds)}, tuple(map(str, after)), needs, draw(st.integers(0, 2)), len(after))
        )
    return jobs


@st.composite
def machines(draw: st.DrawFn, most: int = 4) -> tuple[list[Place], Delays]:
    """Nodes on which every job of `studies` fits, and delays; with a queue or without one."""
    queue = draw(st.booleans())
    count = draw(st.integers(1, most)) if queue else 1
    has = [Room(draw(st.integers(3, 8)), draw(st.integers(2, 4)), draw(st.integers(4, 20))) for _ in range(count)]
    some = st.sampled_from([0.0, 0.5, 3.0])
    delays = Delays(
        draw(some), draw(some), draw(some), draw(some), draw(some), draw(some), draw(some),
        draw(st.integers(1, 6)) if queue else None,
    )  # fmt: skip
    return [Place(str(i), "a", room) for i, room in enumerate(has)], delays


def work(jobs: list[Job], of: str) -> float:
    return sum(job.seconds["a"] * getattr(job.needs, of) for job in jobs)


def chain(jobs: list[Job]) -> float:
    return sum(job.seconds["a"] for job in longest_chain(jobs))


def plain(jobs: list[Job], cores: int) -> Schedule:
    return simulate(jobs, [Place("x", "a", Room(cores, 99, 999))])


@settings(deadline=None)
@given(studies(), machines())
def test_everything_is_made_once_after_its_inputs_and_no_node_is_ever_too_full(jobs, machine) -> None:
    places, delays = machine
    found = simulate(jobs, places, delays)
    ends = {p.job.key: p.end for p in found.placed}
    assert sorted(ends) == sorted(job.key for job in jobs)
    at: dict[int, list[tuple[float, int, Job]]] = defaultdict(list)
    for p in found.placed:
        assert p.end - p.begin == pytest.approx(p.job.seconds["a"])
        assert p.ready <= p.given <= p.begin
        assert all(ends[key] + delays.noticed <= p.begin + 1e-9 for key in p.job.after)
        at[p.place] += [(p.begin, 1, p.job), (p.end, 0, p.job)]
    for place, events in at.items():
        cores = gpus = memory = 0
        for _, begins, job in sorted(events, key=lambda event: event[:2]):
            sign = 1 if begins else -1
            if job.seconds["a"]:  # what takes no time takes no room
                cores += sign * job.needs.cores
                gpus += sign * job.needs.gpus
                memory += sign * job.needs.memory
            has = places[place].has
            assert (cores <= has.cores, gpus <= has.gpus, memory <= has.memory) == (True, True, True)


@settings(deadline=None)
@given(studies(), machines())
def test_no_schedule_is_shorter_than_the_longest_chain_or_than_the_work_on_all_cores(jobs, machine) -> None:
    places, delays = machine
    end = simulate(jobs, places, delays).end
    assert end >= delays.start + chain(jobs) - 1e-9
    for of in ("cores", "gpus", "memory"):
        assert end >= work(jobs, of) / sum(getattr(place.has, of) for place in places) - 1e-9


@settings(deadline=None)
@given(studies(), machines())
def test_the_same_study_has_the_same_schedule_every_time(jobs, machine) -> None:
    assert simulate(jobs, *machine) == simulate(jobs, *machine)


@settings(deadline=None)
@given(studies(cores=1, gpus=0), st.integers(1, 6))
def test_jobs_of_one_core_take_at_most_what_graham_proved_and_exactly_the_sum_on_one(jobs, cores) -> None:
    end = plain(jobs, cores).end
    assert end <= work(jobs, "cores") / cores + (1 - 1 / cores) * chain(jobs) + 1e-9
    assert plain(jobs, 1).end == pytest.approx(work(jobs, "cores"))
    assert plain(jobs, 99).end == pytest.approx(chain(jobs))


@settings(deadline=None)
@given(studies(), st.sampled_from([0.5, 2.0, 10.0]), machines())
def test_where_everything_takes_so_many_times_as_long_the_end_comes_so_many_times_as_late(jobs, times, machine) -> None:
    places, d = machine
    slower = [Job(j.key, {"a": j.seconds["a"] * times}, j.after, j.needs, j.priority, j.inputs) for j in jobs]
    delays = Delays(*(value * times for value in (d.start, d.round, d.ready, d.submission, d.queue, d.noticed, d.end)),
                    d.jobs)  # fmt: skip
    assert simulate(slower, places, delays).end == pytest.approx(times * simulate(jobs, places, d).end)


@settings(deadline=None)
@given(st.lists(seconds, min_size=1, max_size=20), st.integers(1, 5))
def test_independent_jobs_that_are_all_alike_never_take_longer_with_more_cores(takes, cores) -> None:
    jobs = [Job(str(i), {"a": max(takes)}) for i in range(len(takes))]
    assert plain(jobs, cores + 1).end <= plain(jobs, cores).end


# --- in which order --------------------------------------------------------------------------------------------------


def begun(jobs: list[Job], *machine) -> list[str]:
    return [p.job.key for p in simulate(jobs, *(machine or ([Place("x", "a", ONE)],))).placed]


def test_priority_comes_first_then_the_number_of_inputs_then_the_plan() -> None:
    jobs = [Job("plain", {"a": 1}), Job("wide", {"a": 1}, inputs=3), Job("urgent", {"a": 1}, priority=1),
            Job("last", {"a": 1})]  # fmt: skip
    assert begun(jobs) == ["urgent", "wide", "plain", "last"]


def test_a_job_that_does_not_fit_lets_smaller_ones_pass() -> None:
    jobs = [Job("first", {"a": 5}), Job("large", {"a": 1}, needs=Room(2), inputs=9), Job("small", {"a": 5})]
    found = {p.job.key: p.begin for p in simulate([*jobs, Job("late", {"a": 1})], [Place("x", "a", Room(2))]).placed}
    assert found == {"large": 0, "first": 1, "small": 1, "late": 6}


def test_a_job_without_gpus_leaves_the_nodes_that_have_some_to_others_and_a_fast_node_is_preferred() -> None:
    places = [Place("gpu", "gpu", Room(4, 1)), Place("slow", "slow", Room(4)), Place("fast", "fast", Room(1))]
    cpu = {"gpu": 1.0, "slow": 4.0, "fast": 2.0}
    jobs = [Job("a", cpu), Job("b", cpu), Job("c", {"gpu": 1.0}, needs=Room(1, 1))]
    found = simulate(jobs, places, Delays(jobs=9)).placed
    assert {p.job.key: places[p.place].name for p in found} == {"a": "fast", "b": "slow", "c": "gpu"}


def test_without_a_queue_one_node_is_used_and_with_one_no_more_jobs_than_may_be_submitted() -> None:
    jobs = [Job(str(i), {"a": 1.0}) for i in range(6)]
    places = [Place(str(i), "a", ONE) for i in range(6)]
    assert simulate(jobs, places).end == 6
    assert simulate(jobs, places, Delays(jobs=99)).end == 1
    assert simulate(jobs, places, Delays(jobs=2)).end == 3


def test_delays_are_where_they_belong() -> None:
    jobs = [Job("a", {"a": 10.0}), Job("b", {"a": 10.0}, ("a",))]
    delays = Delays(start=1, round=2, ready=3, submission=4, queue=5, noticed=6, end=7, jobs=9)
    found = simulate(jobs, [Place("x", "a", ONE)], delays)
    each = 2 + 3 + 4 + 5 + 10 + 6
    assert [p.begin for p in found.placed] == [1 + each - 16, 1 + 2 * each - 16]
    assert found.end == 1 + 2 * each + 7
    assert found.snakemake == 2 * (2 + 3 + 4)


def test_what_fits_nowhere_and_what_waits_for_itself_is_said() -> None:
    with pytest.raises(RedistillError, match=r"x needs 4 cores, 1 GPU, 2\.0 GiB of memory, and no node has that"):
        simulate([Job("x", {"a": 1}, needs=Room(4, 1, 2 << 30))], [Place("n", "a", Room(2))])
    with pytest.raises(RedistillError, match="waits for itself"):
        simulate([Job("x", {"a": 1}, ("y",)), Job("y", {"a": 1}, ("x",))], [Place("n", "a", ONE)])
    assert simulate([], [Place("n", "a", ONE)]).end == 0


def test_the_longest_chain_goes_over_the_slowest_of_several_inputs() -> None:
    jobs = [Job("short", {"a": 1}), Job("long", {"a": 5, "b": 4}), Job("end", {"a": 1}, ("short", "long")),
            Job("alone", {"a": 4.5})]  # fmt: skip
    assert [job.key for job in longest_chain(jobs)] == ["long", "end"]
    assert longest_chain([]) == []
