// The list of films: it is read from the service, so it outlives the page.

import { call } from "./api.js";
import { compare } from "./compare.js";
import { sentence, STAGES, STATES, size, time } from "./words.js";

const PAGE = 20;

export class Jobs {
  constructor(place, problem) {
    this.place = place;
    this.problem = problem;
    this.cards = new Map();
    this.next = null;
  }

  async load(older = false) {
    const page = await call("GET", `/v1/jobs?limit=${PAGE}${older && this.next ? `&before=${this.next}` : ""}`);
    for (const job of page.jobs) this.show(job, false);
    this.next = page.next;
    document.getElementById("more").hidden = page.next === null;
    this.count();
  }

  count() { document.getElementById("no-jobs").hidden = this.cards.size > 0; }

  show(job, first = true) {
    let card = this.cards.get(job.id);
    if (!card) {
      card = document.getElementById("job").content.firstElementChild.cloneNode(true);
      card.id = job.id;
      this.cards.set(job.id, card);
      first ? this.place.prepend(card) : this.place.append(card);
      if (!["done", "failed", "cancelled"].includes(job.state)) this.watch(job.id);
    }
    this.fill(card, job);
    this.count();
    return card;
  }

  watch(id) {
    const events = new EventSource(`/v1/jobs/${id}/events`);
    const again = () => call("GET", `/v1/jobs/${id}`).then((job) => this.show(job)).catch(() => {});
    events.addEventListener("progress", (event) => this.progress(this.cards.get(id), JSON.parse(event.data)));
    events.addEventListener("state", again);
    events.addEventListener("end", (event) => { events.close(); this.show(JSON.parse(event.data)); });
  }

  progress(card, progress) {
    if (!card || !progress) return;
    const bar = card.querySelector(".bar");
    bar.hidden = false;
    const shown = bar.querySelector("progress");
    if (progress.share === null) shown.removeAttribute("value"); else shown.value = progress.share;
    const parts = [STAGES[progress.stage] ?? progress.stage];
    if (progress.total) parts.push(`${progress.done} of ${progress.total} ${progress.unit}`);
    if (progress.frames_per_s) parts.push(`${progress.frames_per_s.toFixed(1)} frames a second`);
    if (progress.eta_s) parts.push(`${time(progress.eta_s)} left`);
    bar.querySelector(".said").textContent = parts.join(" · ");
  }

  fill(card, job) {
    const part = (selector) => card.querySelector(selector);
    part("h3").textContent = (job.name ?? job.video?.name ?? job.id) + (job.draft ? " (draft)" : "");
    let state = STATES[job.state] ?? job.state;
    if (job.state === "queued") state += job.place ? `, ${job.place} before it` : ", next";
    if (job.state === "queued" && job.eta_s) state += `, ready in about ${time(job.eta_s)}`;
    if (job.cancelling && job.state === "running") state = "Stopping";
    part(".state").textContent = state;
    if (job.state === "running") this.progress(card, job.progress); else part(".bar").hidden = true;
    part(".problem").hidden = !job.error;
    part(".problem").textContent = job.error?.message ?? "";
    part(".job-warnings").replaceChildren(...(job.warnings ?? []).map((text) => Object.assign(document.createElement("li"), { textContent: sentence(text) })));
    const result = job.result;
    if (result?.preview_url) compare(part(".compare"), result.preview_url, result.before_url ?? null, result.thumbnail_url);
    if (result?.strip_url) { part(".strip").hidden = false; part(".strip img").src = result.strip_url; }
    part(".numbers").replaceChildren(...(result ? this.numbers(result) : []));
    part(".actions").replaceChildren(...this.actions(job));
  }

  numbers(result) {
    const rows = [["Frames", `${result.num_edited} of ${result.num_frames} with a new mouth`], ["Took", time(result.seconds_total)],
      ["Speed", `${result.frames_per_s.toFixed(1)} frames a second`], ["Size", size(result.size)], ["Seed", String(result.seed)]];
    for (const [name, value] of Object.entries(result.scores ?? {})) rows.push([name.replaceAll("_", " "), typeof value === "number" ? value.toFixed(2) : String(value)]);
    return rows.map(([term, value]) => {
      const row = document.createElement("div");
      row.append(Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: value }));
      return row;
    });
  }

  actions(job) {
    const button = (text, quiet, work) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, className: quiet ? "quiet" : "" });
      made.addEventListener("click", async () => { made.disabled = true; try { await work(); } catch (error) { this.problem(error); made.disabled = false; } });
      return made;
    };
    const link = (text, url, quiet) => Object.assign(document.createElement("a"), { textContent: text, href: url, className: quiet ? "button quiet" : "button" });
    const made = [];
    if (job.result) made.push(link(`Download ${job.result.name.split(".").pop().toUpperCase()}`, job.result.url, false));
    if (job.result?.report_url) made.push(Object.assign(link("Report", job.result.report_url, true), { target: "_blank", rel: "noopener" }));
    if (["queued", "running"].includes(job.state) && !job.cancelling) made.push(button("Stop", true, async () => this.show(await call("POST", `/v1/jobs/${job.id}/cancel`))));
    if (job.state !== "running") {
      made.push(button("Delete", true, async () => {
        await call("DELETE", `/v1/jobs/${job.id}`);
        this.cards.get(job.id).remove();
        this.cards.delete(job.id);
        this.count();
      }));
    }
    return made;
  }
}
