# SPDX-License-Identifier: Apache-2.0
"""A vision worker's process on a looped clip for seconds, and what is told of one that grows."""

import pytest

from tests.endure_vision import Outcome, Plan, Sample, endure, faults, told

HOUR = Plan(seconds=3_600.0)


def an_hour(*, mb_h=0.0, fill_mb=20.0, threads_h=0.0, files_h=0.0, seconds=3_600):
    """Return what is sampled of a worker that fills its memory at first, then grows or not."""
    return [
        Sample(
            at_s=float(at_s),
            rss_mb=200.0 + min(at_s / 60, 1.0) * fill_mb + mb_h * at_s / 3_600 + at_s % 15 / 10,
            threads=8 + int(threads_h * at_s / 3_600),
            files=12 + int(files_h * at_s / 3_600) - (at_s % 130 == 0),
        )
        for at_s in range(0, seconds, 5)
    ]


def told_of(samples, plan=HOUR, **fields):
    return faults(Outcome(samples=samples, asked=9, answered=9, **fields), plan)


def test_memory_that_fills_and_stays_is_flat():
    assert told_of(an_hour()) == []
    assert told_of(an_hour(mb_h=-30.0)) == []
    assert told_of(an_hour(mb_h=3.0)) == []


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (an_hour(mb_h=7.0), ["memory grows by 7.0 MB an hour, at most 5 MB"]),
        (an_hour(mb_h=20.0), ["memory grew from", "memory grows by 20.0 MB an hour"]),
        (an_hour(threads_h=6.0), ["threads grew from 9 to 13"]),
        (an_hour(files_h=6.0), ["files grew from 13 to 16"]),
        (an_hour(seconds=30), ["only 0 samples after the warm-up"]),
    ],
    ids=["slowly", "fast", "threads", "files", "ended early"],
)
def test_what_grows_is_told(samples, words):
    found = told_of(samples)
    assert len(found) == len(words)
    for one, start in zip(found, words, strict=True):
        assert one.startswith(start)


def test_looks_without_an_answer_or_without_any_wrist_are_told():
    outcome = Outcome(samples=an_hour(), asked=9, answered=8)
    assert faults(outcome, HOUR) == ["only 8 of 9 looks answered in time"]
    assert told_of(an_hour(), empty_answers=9) == ["no look showed a wrist"]


def test_a_worker_on_a_looped_clip_does_its_work_and_does_not_grow(tmp_path):
    """Some seconds of it: the clip begins anew several times, and nothing piles up."""
    plan = Plan(
        seconds=3.0,
        people=2,
        clip_s=1.6,
        empty_s=0.0,
        clip_fps=10,
        look_every_s=1.0,
        sample_every_s=0.2,
        messages_min=40,
    )
    outcome = endure(tmp_path, plan, say=lambda _line: None)
    assert outcome.wrong == []
    assert outcome.counts["frames"] > 16  # More than the clip has.
    assert outcome.counts["lost"] == outcome.counts["blind"] == 0
    assert outcome.answered == outcome.asked >= 2
    text = told(plan, outcome)
    assert text.endswith("FLAT")
    assert "too short a run to judge it" in text
