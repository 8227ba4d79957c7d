// Numbers and settings in words.

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function size(bytes) {
  for (const [unit, scale] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= scale) return `${(bytes / scale).toFixed(bytes >= 10 * scale ? 0 : 1)} ${unit}`;
  }
  return `${bytes} bytes`;
}

export const STATES = { queued: "Waiting", running: "Working", done: "Ready", failed: "Failed", cancelled: "Stopped" };
export const STAGES = { load: "Loading the model", sync: "New mouths", preview: "Making a preview", strip: "Drawing mouths", report: "Scoring" };

export const SETTINGS = {
  length: ["Length", { "": "As the model chooses", audio: "As long as the speech", video: "As long as the film", loop: "Repeat the film", ping_pong: "Film forwards and backwards", hold: "Hold the last frame" }],
  silence: ["Where nobody speaks", { "": "As the model chooses", model: "What the model says", original: "The film's own mouth", closed: "A closed mouth" }],
  no_face: ["Frames without a face", { pass: "Leave as they are", fail: "Stop the run" }],
  keep_audio: ["Sound", { copy: "The speech as it is", encode: "Encode anew", none: "No sound" }],
};

// "--length audio" → ["length", "audio"], or null.
export function parseSetting(text) {
  const found = /^--([a-z-]+)(?:\s+(.+))?$/.exec((text ?? "").trim());
  return found ? [found[1].replaceAll("-", "_"), found[2] ?? true] : null;
}

// What a setting does, for a button.
export function settingLabel(name, value) {
  const known = SETTINGS[name]?.[1]?.[value];
  return known ? `${SETTINGS[name][0]}: ${known.toLowerCase()}` : `Use ${name.replaceAll("_", " ")} ${value === true ? "" : value}`.trim();
}

// A line of the program as a sentence for the page: no options of the command line in brackets.
export function sentence(text) {
  const plain = text.replace(/\s*\((?:see|pass|use|or) --[^)]*\)/g, "");
  return plain.charAt(0).toUpperCase() + plain.slice(1);
}
