"""`/v1/jobs`: put in, look at, cancel, and take the result."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from latentsync.serve.answers import sent
from latentsync.serve.context import ApiError, Owner, Serv, Service, not_found
from latentsync.serve.files import JOB_ID
from latentsync.serve.intake import fingerprint_of, put_in
from latentsync.serve.shapes import PICTURES, JobAnswer, JobList, JobRequest, Priority, job_json, when
from latentsync.serve.spec import file_ids
from latentsync.serve.store import ENDED

LOOK_S = 0.3
"""Between two looks for new events."""
router = APIRouter(prefix="/v1", tags=["jobs"])
Key = Annotated[str | None, Header(max_length=255, description="The same key and body give the same job.")]


def shown(service: Service, row: dict[str, Any]) -> dict[str, Any]:
    """A job as JSON, with its place and the names of its files."""
    names = {}
    for file_id in file_ids(json.loads(row["spec"])):
        file = service.files.get(file_id)
        if file is not None:
            names[file_id] = file["name"]
    hooks = service.queries.deliveries_of(row["seq"])
    return job_json(row, names, service.queries.place(row), hooks, service.config.keep_s)


def own_job(service: Service, owner: str, job_id: str) -> dict[str, Any]:
    row = service.queries.job(job_id, owner) if JOB_ID.fullmatch(job_id) else None
    if row is None:
        raise not_found("job")
    return row


@router.post("/jobs", status_code=201, response_model=JobAnswer, summary="Put a job in")
def create(body: JobRequest, service: Serv, owner: Owner, idempotency_key: Key = None) -> JSONResponse:
    given = body.model_dump(mode="json")
    spec = {key: value for key, value in given.items() if key not in ("model", "priority", "name")}
    if spec["draft"] is True:
        spec["draft"] = {"start_s": 0, "seconds": 5}
    spec["draft"] = spec["draft"] or None
    if spec["plan"] is not None:
        spec["plan"] = [{key: value for key, value in entry.items() if value is not None} for entry in spec["plan"]]
    extras = spec["extras"]
    if spec["plan"] and extras == ["preview", "strip", "report"]:
        spec["extras"] = ["preview", "strip"]
    row, is_new = put_in(
        service, owner, spec, model=body.model, priority=body.priority, name=body.name,
        key=idempotency_key, fingerprint=fingerprint_of(given),
    )  # fmt: skip
    headers = {"location": f"/v1/jobs/{row['id']}"}
    return JSONResponse(shown(service, dict(row)), 201 if is_new else 200, headers)


@router.get("/jobs", response_model=JobList, summary="Jobs, the newest first")
def all_jobs(
    service: Serv,
    owner: Owner,
    state: Annotated[str | None, Query(max_length=100, description="Comma-separated states.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[str | None, Query(max_length=40)] = None,
) -> dict[str, Any]:
    states = [each.strip() for each in state.split(",")] if state else []
    if "queued" in states:
        states.append("fetching")
    rows = service.queries.page(owner, states, limit + 1, before)
    more = rows[limit - 1]["id"] if len(rows) > limit else None
    return {"jobs": [shown(service, row) for row in rows[:limit]], "next": more}


@router.get("/jobs/{job_id}", response_model=JobAnswer, summary="One job")
def one_job(job_id: str, service: Serv, owner: Owner) -> JSONResponse:
    return JSONResponse(shown(service, own_job(service, owner, job_id)))


@router.patch("/jobs/{job_id}", response_model=JobAnswer, summary="Change a waiting job's priority")
def change(job_id: str, body: Priority, service: Serv, owner: Owner) -> dict[str, Any]:
    row = own_job(service, owner, job_id)
    service.store.prioritise(row["seq"], body.priority)
    return shown(service, own_job(service, owner, job_id))


@router.post("/jobs/{job_id}/cancel", response_model=JobAnswer, summary="End a job")
def cancel(job_id: str, service: Serv, owner: Owner) -> dict[str, Any]:
    service.store.cancel(own_job(service, owner, job_id)["seq"])
    return shown(service, own_job(service, owner, job_id))


@router.delete("/jobs/{job_id}", status_code=204, summary="Delete a job and its result")
def delete(job_id: str, service: Serv, owner: Owner) -> None:
    row = own_job(service, owner, job_id)
    if row["state"] in ("running",):
        raise ApiError(409, "conflict", "the job is running. Cancel it first")
    service.store.cancel(row["seq"])
    service.store.delete(row["seq"])
    service.files.delete_job(job_id)


def _event(number: int, kind: str, data: Any) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data), event=kind, id=str(number))


@router.get("/jobs/{job_id}/events", summary="What happens to a job, as server-sent events or as JSON")
async def events(
    job_id: str,
    request: Request,
    service: Serv,
    owner: Owner,
    after: Annotated[int, Query(ge=0, le=2**31)] = 0,
    format: Annotated[str, Query(pattern="^(sse|json)$")] = "sse",
    last_event_id: Annotated[str | None, Header(max_length=20)] = None,
) -> Response:
    row = await run_in_threadpool(own_job, service, owner, job_id)
    if last_event_id is not None and last_event_id.isdecimal():
        after = max(after, min(int(last_event_id), 2**31))

    def fetched(number: int) -> list[tuple[int, str, Any]]:
        found = []
        for index, kind, data in service.queries.events_after(row["seq"], number):
            if kind == "end":
                data = shown(service, own_job(service, owner, job_id))
            found.append((index, kind, data | {"at": when(data["at"])} if "at" in data else data))
        return found

    if format == "json":
        found = await run_in_threadpool(fetched, after)
        return JSONResponse({"events": [{"id": index, "event": kind, "data": data} for index, kind, data in found]})

    async def stream() -> Any:
        import anyio

        number = after
        while True:
            try:
                found = await run_in_threadpool(fetched, number)
            except ApiError:  # deleted meanwhile
                return
            for number, kind, data in found:
                yield _event(number, kind, data)
                if kind == "end":
                    return
            if not found:
                ended = await run_in_threadpool(service.queries.job, job_id)
                if ended is None or (ended["state"] in ENDED and ended["num_events"] <= number):
                    return
                await anyio.sleep(LOOK_S)

    return EventSourceResponse(stream(), ping=15)


def _file(name: str) -> Any:
    def answer(job_id: str, service: Serv, owner: Owner, request: Request) -> Response:
        row = own_job(service, owner, job_id)
        facts = json.loads(row["result"]) if row["result"] else {"files": {}}
        if name not in facts["files"]:
            raise not_found(name)
        path = service.files.job_folder(job_id) / f"try-{facts['try']}" / facts["files"][name]
        if name == "result":
            return sent(request, path, facts["name"], facts["sha256"])
        return sent(request, path)

    return answer


for _name in ("result", *PICTURES):
    router.add_api_route(
        f"/jobs/{{job_id}}/{_name}", _file(_name), methods=["GET"], response_class=FileResponse,
        operation_id=f"job_{_name}", summary=f"The {_name} of a finished job",
    )  # fmt: skip
