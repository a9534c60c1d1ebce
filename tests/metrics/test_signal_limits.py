"""Limits of the pure functions behind metrics: gaps of tracks, falls of the eyes, onsets, windows, alignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dawn_bench.metrics.functional.align import ARCFACE, DLIB, five_points, similarity
from dawn_bench.metrics.functional.beats import motion_beats, onset_frames
from dawn_bench.metrics.functional.blinks import closing_edges, closures, online, openness, spans
from dawn_bench.metrics.functional.facetrack import crop, iou, smoothed, tracks
from dawn_bench.metrics.functional.sync import window_count

HERE, NOBODY = np.array([[10.0, 12, 50, 60]]), np.zeros((0, 4))


@pytest.mark.parametrize(("gap", "joins"), [(24, True), (25, False)])
def test_a_track_bridges_24_frames_without_a_face(gap: int, joins: bool) -> None:
    people = tracks([HERE, *[NOBODY] * gap, HERE], more_than=1, larger_than=0)
    assert [len(track.frames) for track in people] == ([gap + 2] if joins else [])
    moved = tracks([HERE, NOBODY, NOBODY, NOBODY, HERE + [4, 8, 0, 4]], more_than=1, larger_than=0)  # noqa: RUF005
    assert moved[0].boxes[1] == pytest.approx(HERE[0] + np.array([1, 2, 0, 1]))


def test_a_track_needs_more_detections_and_more_pixels_than_the_limits() -> None:
    for detections, kept in ((5, 0), (6, 1)):
        assert len(tracks([HERE] * detections, more_than=5, larger_than=0)) == kept
    for limit, kept in ((47.9, 1), (48, 0)):  # the face is 40 wide and 48 high: the larger side counts
        assert len(tracks([HERE] * 3, more_than=1, larger_than=limit)) == kept


def test_boxes_join_above_half_of_their_union() -> None:
    assert iou(np.array([0, 0, 10, 20]), np.array([5, 10, 15, 40])) == pytest.approx(50 / (200 + 300 - 50))
    assert iou(np.array([0, 0, 1, 1]), np.array([2, 0, 3, 1])) == 0
    box = np.array([[0.0, 0, 30, 10]])
    for shift, count in ((9, 1), (10, 2), (11, 2)):  # 21 of 39, 20 of 40, 19 of 41
        people = tracks([box, box, box + [shift, 0, shift, 0], box + [shift, 0, shift, 0]], more_than=1, larger_than=0)  # noqa: RUF005
        assert len(people) == count, shift


def test_the_crop_is_smoothed_over_13_frames_and_has_more_below() -> None:
    boxes = np.tile([10.0, 20, 50, 100], (30, 1))
    boxes[15:21] += [40, 10, 40, 10]  # six frames do not move a median of 13
    x, y, half = smoothed(boxes)
    assert x[6:-6].tolist() == [30] * 18 and y[6:-6].tolist() == [60] * 18 and half[6:-6].tolist() == [40] * 18
    boxes[21] += [40, 10, 40, 10]
    assert smoothed(boxes)[0].max() == 70
    frame = np.zeros((200, 160, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(160), np.arange(200)[:, None]
    picture = crop(frame, 80, 90, 30).astype(int)
    assert picture.shape == (224, 224, 3)
    assert picture[112, [0, -1], 0] == pytest.approx([80 - 42, 80 + 42], abs=1)
    assert picture[[0, -1], 112, 1] == pytest.approx([90 - 30, 90 + 30 * 1.8], abs=1)
    assert crop(frame, 5, 90, 30)[112, 0].tolist() == [110, 110, 110]


@pytest.mark.parametrize(("fall", "blinks"), [(0.0719, 0), (0.0721, 1)])
def test_a_closing_edge_is_a_fall_of_the_limit(fall: float, blinks: int) -> None:
    ear = np.r_[np.full(6, 0.3), 0.3 - fall, np.full(6, 0.3)]
    assert len(closing_edges(ear)) == blinks


@pytest.mark.parametrize(("apart", "blinks"), [(3, 1), (4, 2)])
def test_two_blinks_are_four_frames_apart(apart: int, blinks: int) -> None:
    ear = np.full(20, 0.3)
    ear[[6, 6 + apart]] = 0.1
    assert len(closing_edges(ear)) == blinks


@pytest.mark.parametrize(("frames", "blinks"), [(1, 0), (2, 1), (3, 1)])
def test_an_eye_is_shut_for_two_frames_below_the_threshold(frames: int, blinks: int) -> None:
    ear = np.r_[np.full(4, 0.3), np.full(frames, 0.19), np.full(4, 0.3)]
    assert len(closures(ear)) == len(online(ear)) == blinks
    assert len(closures(np.where(ear < 0.2, 0.2, ear))) == len(online(np.where(ear < 0.2, 0.2, ear))) == 0
    if blinks:
        assert closures(ear).tolist() == [4] and online(ear)[0][0] == 4 + frames


def test_the_online_rule_ends_a_blink_with_a_rise_of_more_than_a_hundredth() -> None:
    shut = [0.3, 0.15, 0.15]
    assert online(np.array([*shut, 0.195, 0.204, 0.3])) == [(5, 5)]  # a rise of 0.009 above the threshold is none
    assert online(np.array([*shut, 0.195, 0.206, 0.3])) == [(4, 4)]
    assert online(np.array([*shut, 0.17, 0.19])) == []
    assert online(np.array([0.3, 0.15, 0.3, 0.15, 0.3, 0.15, 0.3])) == []  # never shut for two frames in a row


def test_spans_begin_at_the_last_peak_before_an_edge() -> None:
    ear = np.array([0.2, 0.3, 0.31, 0.3, 0.1, 0.1, 0.3, 0.32, 0.3, 0.29, 0.1, 0.2, 0.25])
    assert spans(ear, np.array([3, 9])) == [(2, 7), (7, 12)]


def test_the_openness_is_the_mean_of_two_eyes_of_unlike_shape() -> None:
    points = np.zeros((1, 68, 2))
    for corner, width, lids in ((36, 4, (1, 2, -1, -3)), (42, 5, (0.5, 1, -0.5, -1))):
        points[0, corner + 3, 0] = width
        for lid, y in zip((1, 2, 4, 5), lids, strict=True):
            points[0, corner + lid] = (0, y)
    assert openness(points)[0] == pytest.approx(((4 + 3) / 8 + (1.5 + 1.5) / 10) / 2)


def test_rests_and_onsets_are_strict() -> None:
    places = np.cumsum([0, 3, 1, 2, 2, 4, 0, 5.0])
    points = np.stack([places, np.zeros(8)], 1)[:, None]
    assert motion_beats(points, smooth=0.01).tolist() == [1, 5]  # of the steps 3 1 2 2 4 0 5; none at a plateau
    assert motion_beats(points[:1]).tolist() == []
    flat = np.ones(20)
    flat[10] = 2.0
    assert onset_frames(flat).tolist() == [10] and onset_frames(np.ones(20)).tolist() == []
    low = np.r_[np.zeros(8), 0.1, np.zeros(8), 1.0, 0, 0, 0]
    assert onset_frames(low).tolist() == [8, 17]  # 0.1 - 0.1 / 5 is above 0.07
    for large in (6, 10):  # the mean is over two values on either side
        beside = np.zeros(14)
        beside[8], beside[large] = 0.3, 1.0
        assert onset_frames(beside).tolist() == [large]
    low[8] = 0.085
    assert onset_frames(low).tolist() == [17]


@pytest.mark.parametrize(("frames", "samples", "windows"), [(6, 640 * 6, 1), (5, 640 * 9, 0), (9, 640 * 7 - 1, 1), (3, 0, 0)])  # fmt: skip  # noqa: E501
def test_windows_of_picture_and_whole_frames_of_sound(frames: int, samples: int, windows: int) -> None:
    assert window_count(frames, samples) == windows


def corners_of(angle: float) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    turn = 2.5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn, lambda points: points @ turn.T + [7, -3]


@pytest.mark.parametrize("template", [ARCFACE, DLIB])
def test_faces_are_mapped_from_the_frame_to_the_template(template: Any) -> None:
    turn, move = corners_of(0.4)
    back = similarity(move(template.points).astype(np.float32), template.points)
    assert back[:, :2] == pytest.approx(np.linalg.inv(turn), abs=1e-4)
    points = np.arange(136.0).reshape(68, 2) ** 1.1
    assert five_points(points)[[2, 3, 4]] == pytest.approx(points[[30, 48, 54]])
    assert five_points(points)[0] == pytest.approx(points[36:42].mean(axis=0))
