// The page: a client of the service on the same address. It keeps nothing but what is on the screen.

import { call, ServiceError, signIn, upload } from "./api.js";
import { Jobs } from "./jobs.js";
import { Plan, save } from "./plan.js";
import { parseSetting, sentence, SETTINGS, settingLabel, size, time } from "./words.js";

const at = (id) => document.getElementById(id);
const work = { video: null, audio: null, face: null, options: {}, look: 0, about: null };

function problem(error) {
  const place = at("problem");
  place.textContent = error.message ?? String(error);
  place.hidden = false;
  if (error instanceof ServiceError && error.status === 401) at("key").hidden = false;
  place.scrollIntoView({ block: "nearest" });
}

const jobs = new Jobs(at("jobs"), problem);
const plan = new Plan(at("plan-rows"), ready);

function ready() {
  at("run").hidden = !(work.video && (work.audio || !plan.isEmpty));
}

// ---- files

async function take(kind, file) {
  const drop = document.querySelector(`.drop[data-kind=${kind}]`);
  const [bar, said] = [drop.querySelector("progress"), drop.querySelector(".said")];
  at("problem").hidden = true;
  drop.classList.remove("ready");
  bar.hidden = false;
  bar.value = 0;
  said.textContent = `Sending ${file.name} …`;
  work[kind] = null;
  ready();
  try {
    const sent = await upload(file, (share) => { bar.value = share; said.textContent = `${file.name}: ${Math.round(100 * share)} %`; });
    work[kind] = sent;
    drop.classList.add("ready");
    const length = sent.duration_s ? `, ${sent.duration_s.toFixed(1)} s` : "";
    const picture = sent.width ? `, ${sent.width} × ${sent.height}` : "";
    said.textContent = `${sent.name}${picture}${length}, ${size(sent.size)}`;
    if (kind === "video") work.face = null;
    await look();
  } catch (error) {
    said.textContent = "";
    problem(error);
  } finally {
    bar.hidden = true;
    ready();
  }
}

for (const drop of document.querySelectorAll(".drop")) {
  const kind = drop.dataset.kind;
  at(kind).addEventListener("change", (event) => { if (event.target.files[0]) take(kind, event.target.files[0]); });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(kind, event.dataTransfer.files[0]);
  });
}
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault()); // a miss opens no file

let recorder = null;
at("record").hidden = !navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder;
at("record").addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  try {
    const sound = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(sound);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      for (const track of sound.getTracks()) track.stop();
      at("record").textContent = "Record with the microphone";
      const kind = recorder.mimeType.includes("mp4") ? "m4a" : "webm";
      recorder = null;
      take("audio", new File(parts, `recording.${kind}`));
    });
    recorder.start();
    at("record").textContent = "Stop recording";
  } catch {
    problem(new Error("The microphone cannot be used. Allow it in the browser, or choose a file."));
  }
});

// ---- a look at the film

async function look() {
  if (!work.video) return;
  const turn = ++work.look;
  at("look").hidden = false;
  at("look-wait").hidden = false;
  try {
    const seen = await call("POST", "/v1/inspect", { video: work.video.id, audio: work.audio?.id ?? null, options: work.options });
    if (turn === work.look) showLook(seen);
  } catch (error) {
    if (turn === work.look) problem(error);
  } finally {
    if (turn === work.look) at("look-wait").hidden = true;
  }
}

function showLook(seen) {
  at("faces").hidden = !seen.frame;
  if (seen.frame) at("faces-frame").src = seen.frame.url;
  const boxes = seen.faces.map((face) => {
    const box = Object.assign(document.createElement("button"), { type: "button", className: "box" });
    const [x0, y0, x1, y1] = face.share.map((share) => 100 * share);
    Object.assign(box.style, { left: `${x0}%`, top: `${y0}%`, width: `${x1 - x0}%`, height: `${y1 - y0}%` });
    box.ariaLabel = `Face ${face.index + 1}, ${Math.round(face.width_px)} pixels wide`;
    box.append(Object.assign(document.createElement("span"), { textContent: String(face.index + 1) }));
    box.addEventListener("click", () => { work.face = face.choice; press(); });
    box.dataset.choice = face.choice;
    return box;
  });
  at("boxes").replaceChildren(...boxes);
  plan.showFaces(seen.faces);
  const press = () => {
    const largest = seen.faces.reduce((best, face) => (!best || face.width_px > best.width_px ? face : best), null);
    for (const box of boxes) box.ariaPressed = String(box.dataset.choice === (work.face ?? largest?.choice));
  };
  press();
  at("faces-said").textContent = seen.faces.length > 1 ? "Choose the person who is to speak. The largest face is chosen already."
    : seen.faces.length === 1 ? "One face found." : "";
  at("warnings").replaceChildren(...seen.warnings.map(warning));
  const expected = seen.expected;
  at("expected").textContent = expected ? `About ${time(expected.seconds)} of work, ${expected.peak_memory_gib.toFixed(1)} GiB of memory.` : "";
}

function warning({ text, setting }) {
  const item = document.createElement("li");
  item.append(Object.assign(document.createElement("span"), { textContent: sentence(text) }));
  const known = work.about?.options ?? {};
  const [name, value] = parseSetting(setting) ?? [];
  if (!(name in known)) return item;
  const button = Object.assign(document.createElement("button"), { type: "button" });
  const isComplete = value !== true || typeof known[name] === "boolean";
  if (isComplete) {
    button.textContent = settingLabel(name, value);
    button.addEventListener("click", () => { work.options[name] = value; showSettings(); look(); });
  } else {
    button.textContent = `Choose: ${(SETTINGS[name]?.[0] ?? name.replaceAll("_", " ")).toLowerCase()}`;
    button.addEventListener("click", () => {
      at("run").hidden = false;
      at("run").querySelector("details").open = true;
      (at(`setting-${name}`) ?? at("settings")).focus();
      ready();
    });
  }
  if (isComplete || name in SETTINGS) item.append(button);
  return item;
}

// ---- settings

function showSettings() {
  const fields = Object.entries(SETTINGS).map(([name, [title, choices]]) => {
    const select = Object.assign(document.createElement("select"), { id: `setting-${name}` });
    for (const [value, text] of Object.entries(choices)) select.add(new Option(text, value));
    select.value = work.options[name] ?? "";
    if (select.selectedIndex < 0) select.selectedIndex = 0;
    select.addEventListener("change", () => {
      if (select.value) work.options[name] = select.value; else delete work.options[name];
    });
    const label = document.createElement("label");
    label.append(title, select);
    return label;
  });
  const seed = Object.assign(document.createElement("input"), { type: "number", min: 0, step: 1, placeholder: "1247" });
  seed.value = work.options.seed ?? "";
  seed.addEventListener("change", () => { if (seed.value) work.options.seed = Number(seed.value); else delete work.options.seed; });
  const label = document.createElement("label");
  label.append("Seed: another one, another take", seed);
  at("settings").replaceChildren(...fields, label);
}

// ---- runs

async function make(draft) {
  at("problem").hidden = true;
  const options = { ...work.options };
  const wanted = { video: work.video.id, options, name: `${work.video.name}` };
  try {
    if (plan.isEmpty) {
      wanted.audio = work.audio.id;
      if (work.face) options.face = work.face;
      wanted.name = `${work.video.name} · ${work.audio.name}`;
    } else {
      wanted.plan = plan.entries();
      delete options.length;
    }
    if (draft) wanted.draft = { start_s: 0, seconds: 5 };
    const card = jobs.show(await call("POST", "/v1/jobs", wanted, { "Idempotency-Key": crypto.randomUUID?.() ?? String(Math.random()) }));
    card.scrollIntoView({ behavior: "smooth", block: "center" });
  } catch (error) {
    problem(error);
  }
}
at("draft").addEventListener("click", () => make(true));
at("make").addEventListener("click", () => make(false));
at("more").addEventListener("click", () => jobs.load(true).catch(problem));

// ---- plans

async function addSpeeches(files, rows) {
  for (const file of files) {
    try {
      const sent = await upload(file, () => {});
      plan.files.set(file.name, sent.id);
      if (rows && ![...plan.body.rows].some((row) => row.dataset.audio === file.name)) plan.add(file.name);
    } catch (error) {
      problem(error);
    }
  }
  ready();
}
at("plan-audio").addEventListener("change", (event) => addSpeeches([...event.target.files], true));
at("plan-file").addEventListener("change", async (event) => {
  try {
    const missing = await plan.read(event.target.files[0]);
    if (missing.length) problem(new Error(`The plan names ${missing.join(", ")}: add these speeches, too.`));
  } catch (error) {
    problem(error);
  }
  event.target.value = "";
});
at("plan-export").addEventListener("click", () => save("plan.csv", plan.csv()));

// ---- the beginning

async function begin() {
  work.about = await call("GET", "/v1/about");
  at("version").textContent = `LatentSync ${work.about.version}.`;
  at("key").hidden = work.about.auth !== "key" || work.about.signed_in;
  showSettings();
  if (at("key").hidden) await jobs.load();
}
at("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("problem").hidden = true;
  try {
    await signIn(at("key-text").value);
    at("key-text").value = "";
    await begin();
  } catch (error) {
    problem(error.status === 401 ? new Error("This key is not known.") : error);
  }
});
begin().catch(problem);
