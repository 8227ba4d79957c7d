// Several speeches in one film: rows of a table, read from and written to a file.


const COLUMNS = ["audio", "face", "start", "end"];

export class Plan {
  constructor(body, changed) {
    this.body = body;
    this.changed = changed;
    this.files = new Map(); // name → id
    this.faces = [];
  }

  get isEmpty() { return this.body.children.length === 0; }

  add(name, values = {}) {
    const row = this.body.insertRow();
    row.dataset.audio = name;
    row.insertCell().textContent = name;
    const who = document.createElement("select");
    who.ariaLabel = `Who says ${name}`;
    row.insertCell().append(who);
    for (const key of ["start", "end"]) {
      const input = document.createElement("input");
      Object.assign(input, { className: key, placeholder: key === "start" ? "start" : "end", value: values[key] ?? "" });
      input.ariaLabel = `${key === "start" ? "From" : "To"}, for ${name}`;
      input.addEventListener("input", this.changed);
      row.insertCell().append(input);
    }
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "Remove" });
    remove.addEventListener("click", () => { row.remove(); this.changed(); });
    row.insertCell().append(remove);
    row.dataset.face = values.face ?? "";
    this.offer(row);
    this.changed();
  }

  showFaces(faces) {
    this.faces = faces;
    for (const row of this.body.rows) this.offer(row);
  }

  offer(row) {
    const who = row.querySelector("select");
    const wanted = who.value || row.dataset.face;
    who.replaceChildren(new Option("the largest face", ""));
    for (const face of this.faces) who.add(new Option(`face ${face.index + 1}`, face.choice));
    if (wanted && ![...who.options].some((option) => option.value === wanted)) who.add(new Option(wanted, wanted));
    who.value = wanted;
  }

  // Rows as the service takes them; a speech that isn't uploaded is named in the error.
  entries() {
    return [...this.body.rows].map((row) => {
      const id = this.files.get(row.dataset.audio);
      if (!id) throw new Error(`Add the speech ${row.dataset.audio}: the plan names it, and it is not here yet.`);
      const value = (key) => row.querySelector(key).value.trim() || null;
      return { audio: id, face: value("select"), start: value(".start") ?? 0, end: value(".end") };
    });
  }

  async read(file) {
    const answer = await fetch(`/v1/plan/parse?name=${encodeURIComponent(file.name)}`, { method: "POST", body: await file.text() });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error?.message ?? "This plan cannot be read.");
    this.body.replaceChildren();
    for (const entry of content.entries) this.add(entry.audio, entry);
    return content.entries.map((entry) => entry.audio).filter((name) => !this.files.has(name));
  }

  csv() {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = [...this.body.rows].map((row) => [row.dataset.audio, ...["select", ".start", ".end"].map((key) => row.querySelector(key).value)]);
    return [COLUMNS, ...rows].map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  }
}

export function save(name, text) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(new Blob([text])), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

