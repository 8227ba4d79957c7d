// The service's doors: JSON calls, and uploads that go on after a break (tus 1.0.0).

const SLICE = 8 * 1024 * 1024;
const TRIES = 6;

export class ServiceError extends Error {
  constructor(status, error) {
    super(error.message || `The service answered ${status}.`);
    this.status = status;
    this.code = error.code;
    this.setting = error.setting ?? null;
  }
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new ServiceError(0, { code: "away", message: "The service does not answer. Is it still running?" });
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  throw new ServiceError(answer.status, said.error ?? {});
}

export async function signIn(key) {
  await call("POST", "/v1/session", undefined, { Authorization: `Bearer ${key}` });
}

// Sends a file in slices; `progress(share)` is called between them. Returns the File of the service.
export async function upload(file, progress) {
  const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
  const begun = await attempt(() => fetch("/v1/uploads", {
    method: "POST",
    headers: { "Tus-Resumable": "1.0.0", "Upload-Length": String(file.size), "Upload-Metadata": `filename ${name}` },
  }));
  const place = begun.headers.get("Location");
  let offset = 0;
  let failures = 0;
  while (offset < file.size) {
    try {
      const answer = await fetch(place, {
        method: "PATCH",
        headers: { "Tus-Resumable": "1.0.0", "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" },
        body: file.slice(offset, offset + SLICE),
      });
      if (!answer.ok) await refuse(answer);
      offset = Number(answer.headers.get("Upload-Offset"));
      failures = 0;
    } catch (error) {
      if (error instanceof ServiceError && error.status !== 409) throw error;
      if (++failures > TRIES) throw new ServiceError(0, { message: "The upload broke off. Choose the file again." });
      await new Promise((done) => setTimeout(done, 500 * 2 ** failures));
      offset = await arrived(place, offset);
    }
    progress(file.size ? offset / file.size : 1);
  }
  return call("GET", `/v1/files/${place.split("/").pop()}`);
}

async function arrived(place, offset) {
  try {
    const answer = await fetch(place, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
    return answer.ok ? Number(answer.headers.get("Upload-Offset")) : offset;
  } catch {
    return offset;
  }
}

async function attempt(request) {
  let answer;
  try {
    answer = await request();
  } catch {
    throw new ServiceError(0, { message: "The service does not answer. Is it still running?" });
  }
  if (!answer.ok) await refuse(answer);
  return answer;
}

async function refuse(answer) {
  const said = await answer.json().catch(() => ({}));
  throw new ServiceError(answer.status, said.error ?? {});
}
