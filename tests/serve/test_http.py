"""The whole order of work over HTTP: upload, inspect, draft, run, events, result."""

from __future__ import annotations

import base64
import hashlib
import json

import numpy as np

import planted
import serving

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


def begin(service: serving.Served, name: str, size: int) -> str:
    words = f"filename {base64.b64encode(name.encode()).decode()}"
    answer = service.http.post("/v1/uploads", headers={**TUS, "Upload-Length": str(size), "Upload-Metadata": words})
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def test_an_upload_that_was_cut_goes_on(doors: serving.Served, media: serving.Media) -> None:
    content = media.film.read_bytes()
    where = begin(doors, "Größe 🎬.mp4", len(content))
    half = len(content) // 2
    first = doors.http.patch(where, headers={**PART, "Upload-Offset": "0"}, content=content[:half])
    assert (first.status_code, first.headers["upload-offset"]) == (204, str(half))
    wrong = doors.http.patch(where, headers={**PART, "Upload-Offset": "7"}, content=content[7:])
    assert wrong.status_code == 409 and wrong.json()["error"]["code"] == "conflict"
    there = doors.http.head(where, headers=TUS)
    assert (there.headers["upload-offset"], there.headers["upload-length"]) == (str(half), str(len(content)))
    assert doors.http.get(where.replace("uploads", "files")).json()["complete"] is False
    doors.http.patch(where, headers={**PART, "Upload-Offset": str(half)}, content=content[half:])
    file = doors.http.get(where.replace("uploads", "files")).json()
    assert file["complete"] and file["kind"] == "video" and file["name"] == "Größe 🎬.mp4"
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    part = doors.http.get(f"/v1/files/{file['id']}/content", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == content[10:20]
    assert doors.http.delete(where, headers=TUS).status_code == 204
    assert doors.http.head(where, headers=TUS).status_code == 404
    assert not (doors.data / "files" / file["id"]).exists()


def test_an_upload_whose_last_answer_was_lost_is_complete(doors: serving.Served, media: serving.Media) -> None:
    content = media.speech.read_bytes()
    where = begin(doors, "speech.wav", len(content))
    # what a service leaves that is killed between the last byte and its note in the table
    (doors.data / "files" / where.rpartition("/")[2] / "content.wav").write_bytes(content)
    assert doors.http.head(where, headers=TUS).headers["upload-offset"] == str(len(content))
    file = doors.http.get(where.replace("uploads", "files")).json()
    assert (file["complete"], file["kind"]) == (True, "audio")
    assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_job_from_upload_to_result(service: serving.Served, media: serving.Media) -> None:
    video, audio = service.upload(media.film), service.upload(media.speech)
    seen = service.http.post("/v1/inspect", json={"video": video, "audio": audio}).json()
    assert len(seen["faces"]) == 1 and seen["num_with_face"] == seen["num_sampled"]
    picture = service.http.get(seen["frame"]["url"])
    assert picture.headers["content-type"] == "image/jpeg" and picture.content[:2] == b"\xff\xd8"
    chosen = {"face": seen["faces"][0]["choice"]}
    job = service.submit(video, audio, options=chosen, extras=["preview", "strip"], metadata={"film": "7"})
    assert job["state"] == "queued" and job["video"]["name"] == "talk.mp4" and job["metadata"] == {"film": "7"}
    done = service.wait(job["id"])
    assert done["state"] == "done", done
    result = done["result"]
    content = service.http.get(result["url"])
    assert content.headers["content-disposition"].startswith("attachment")
    assert hashlib.sha256(content.content).hexdigest() == result["sha256"]
    assert result["num_edited"] == result["num_frames"] == 16
    for name, kind in (("preview", "video/mp4"), ("before", "video/mp4"), ("strip", "image/png")):
        shown = service.http.get(result[f"{name}_url"], headers={"Range": "bytes=0-3"})
        assert (shown.status_code, shown.headers["content-type"], len(shown.content)) == (206, kind, 4), name
    assert result["report_url"] is None and service.http.get(f"/v1/jobs/{job['id']}/report").status_code == 404
    assert [path.name for path in (service.data / "jobs" / job["id"]).iterdir()] == ["try-1"]
    newest = service.http.get("/v1/jobs", params={"limit": 1}).json()
    assert [each["id"] for each in newest["jobs"]] == [job["id"]]


def test_events_can_be_read_again_from_any_place(service: serving.Served, media: serving.Media) -> None:
    job = service.submit(service.upload(media.film), service.upload(media.speech), draft={"seconds": 0.4})
    text = service.http.get(f"/v1/jobs/{job['id']}/events").text  # ends with the job
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.replace("\r", "").split("\n\n")
              if block.startswith("id")]  # fmt: skip
    assert [int(each["id"]) for each in blocks] == list(range(1, len(blocks) + 1))
    kinds = [each["event"] for each in blocks]
    assert kinds[0] == "state" and "progress" in kinds and kinds[-1] == "end"
    ended = json.loads(blocks[-1]["data"])
    assert ended["state"] == "done", (ended["error"], service.log.read_text())
    assert ended["result"]["num_frames"] == 10  # 0.4 s of it
    again = service.http.get(f"/v1/jobs/{job['id']}/events", headers={"Last-Event-ID": blocks[-2]["id"]}).text
    assert again.count("event: ") == 1 and "event: end" in again
    as_json = service.http.get(f"/v1/jobs/{job['id']}/events", params={"format": "json", "after": 2}).json()["events"]
    assert [each["id"] for each in as_json] == list(range(3, len(blocks) + 1))


def test_what_cannot_be_run_says_why(service: serving.Served, media: serving.Media) -> None:
    faceless = media.film.with_name("grey.mp4")
    planted.film(faceless, [np.full((64, 64, 3), 128, np.uint8)] * 5)
    silent = service.submit(service.upload(faceless, "a <b>film.mp4"), service.upload(media.speech))
    failed = service.wait(silent["id"])
    assert failed["state"] == "failed" and failed["error"]["code"] == "no_face"
    assert failed["error"]["message"].startswith("a <b>film.mp4: no face to edit")
    assert str(service.data) not in failed["error"]["message"]
    assert not (service.data / "jobs" / silent["id"]).exists()


def test_the_queue_keeps_order_and_priorities(doors: serving.Served, media: serving.Media) -> None:
    video, audio = doors.upload(media.film), doors.upload(media.speech)
    first, second = doors.submit(video, audio), doors.submit(video, audio)
    urgent = doors.submit(video, audio, priority=5)
    assert [doors.job(each["id"])["place"] for each in (urgent, first, second)] == [0, 1, 2]
    doors.http.patch(f"/v1/jobs/{second['id']}", json={"priority": 9})
    assert doors.job(second["id"])["place"] == 0
    assert doors.http.delete(f"/v1/files/{video}").status_code == 409  # still needed
    cancelled = doors.http.post(f"/v1/jobs/{urgent['id']}/cancel").json()
    assert cancelled["state"] == "cancelled"
    for each in (first, second, urgent):
        assert doors.http.delete(f"/v1/jobs/{each['id']}").status_code == 204
    assert doors.http.get(f"/v1/jobs/{first['id']}").status_code == 404
    assert doors.http.delete(f"/v1/files/{video}").status_code == 204


def test_the_same_request_is_the_same_job(doors: serving.Served, media: serving.Media) -> None:
    body = {"video": doors.upload(media.film), "audio": doors.upload(media.speech)}
    first = doors.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})
    second = doors.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    other = doors.http.post("/v1/jobs", json=body | {"priority": 1}, headers={"Idempotency-Key": "k1"})
    assert other.status_code == 409
