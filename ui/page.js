// Settings live in the browser and in links; nothing of it is sent to the server.
const JOBS_KEY = "latent-canvas-jobs"; // of this tab of the browser, oldest first
const TAB_KEY = "latent-canvas-tab";
const FIRST_TAB = "text-to-image";
const SHADE_KEY = "latent-canvas-shade";
const MAX_JOBS = 60;
const RATIO_MS = 300; // until a tab that is opened is there

// A storage of the browser. One that is full, or is refused to a page in the frame of another site, is
// done without: what it does not take is remembered until the page is left.
function storageOf(name) {
  const meanwhile = {};
  return {
    getItem(key) {
      try { return meanwhile[key] ?? window[name].getItem(key); } catch { return null; }
    },
    setItem(key, text) {
      delete meanwhile[key];
      try { window[name].setItem(key, text); } catch { meanwhile[key] = text; }
    },
    removeItem(key) {
      delete meanwhile[key];
      try { window[name].removeItem(key); } catch { /* it holds nothing */ }
    },
  };
}
const session = storageOf("sessionStorage"), local = storageOf("localStorage");

// What a window remembers is its own: of two, neither changes the other's. A new one begins with what
// was remembered last in any.
const ownStorage = {
  getItem: (key) => session.getItem(key) ?? local.getItem(key),
  setItem(key, text) { for (const storage of [session, local]) storage.setItem(key, text); },
};

function stored(storage, key, otherwise) {
  try { return JSON.parse(storage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

const latentCanvas = {
  tasks: [], // of all tabs, whether they were ever open or not
  components: {}, // name -> what Gradio calls when one of them is on the page, see ui/scripts.py

  keep(task, names, values) {
    const kept = Object.fromEntries(names.map((name, i) => [name, lasting(values[i])]));
    const text = JSON.stringify(kept);
    if (text !== ownStorage.getItem(settingsKey(task))) this.changed(task);
    ownStorage.setItem(settingsKey(task), text);
    markRatio(task, kept.width, kept.height);
    this.markUndo(task);
    document.dispatchEvent(new CustomEvent("lc-kept", { detail: { task, kept } }));
  },

  // What the last run was refused for may be mended; the next one says it again.
  changed(task) {
    document.querySelector(`#${task}-strip .strip.failed`)?.toggleAttribute("data-mended", true);
  },

  // What this window remembers wins over the page's own defaults. A tab that gets settings from a
  // link remembers none: what the link leaves out is the default, or it would make every visitor
  // another picture. names: [task, input, what it may be] of every value, see ui/controls.py. The last
  // values are of each task whether a person chose its model.
  recall(names, values) {
    const link = Object.fromEntries(new URLSearchParams(location.search));
    const linked = link.tab ?? FIRST_TAB;
    const brings = names.some(([task, name]) => task === linked && name in link);
    const byTask = {}, kept = {}, refused = [];
    for (const [task] of names) kept[task] ??= stored(ownStorage, settingsKey(task), {});
    this.tasks = Object.keys(kept);
    const unknown = faultOf(linked, { label: "Tab", choices: tabNames() });
    if (unknown) refused.push(unknown);
    if (brings) {
      rememberState(linked, null); // what is painted there is not known yet, and stays
      session.removeItem(picturesKey(linked)); // see ui/undo.js
      kept[linked] = link;
    }
    const recalled = names.map(([task, name, about], i) => {
      const value = name === "seed" ? this.seed(kept[task][name] ?? "") : kept[task][name] ?? "";
      const fault = value === "" ? "" : faultOf(value, about);
      if (fault) refused.push(fault);
      return ((byTask[task] ??= {})[name] = value === "" || fault ? values[i] : asTaken(values[i], value));
    });
    const isLink = brings || link.tab;
    const first = isLink && !unknown ? linked : stored(ownStorage, TAB_KEY, FIRST_TAB);
    history.replaceState({ tab: first }, "", isLink ? location.pathname : undefined);
    openTab(first);
    // from here on the settings are this window's own: a reload brings neither the link's back nor
    // those of another window
    for (const task in byTask) this.keep(task, Object.keys(byTask[task]), Object.values(byTask[task]));
    tell(refused);
    shade(stored(local, SHADE_KEY, null));
    document.body.dataset.ready = "yes";
    return [...recalled, ...this.tasks.map((task) => stored(ownStorage, byHandKey(task), false) === true)];
  },

  // Gradio sends a dropdown's input event when the dropdown is left, too: null where its value is the
  // one that it was entered with.
  entered: {},
  enter(id, value) { this.entered[id] = value; },
  chosen(id, value) {
    if (value === this.entered[id]) return null;
    this.entered[id] = value;
    return value;
  },

  // A person chose a task's model: what brings one of its own leaves it from now on.
  chose(task, name) {
    if (name !== null) ownStorage.setItem(byHandKey(task), "true");
    return name;
  },

  // The model suits the words now; if they brought it, nobody chose it.
  suited(task, byHand) {
    ownStorage.setItem(byHandKey(task), String(byHand));
    this.filled(task, true);
  },

  // Other programs write -1 for a new seed each time.
  seed(text) { return String(text).trim() === "-1" ? "" : text; },

  // An open seed is that of the picture on show, and so are its variations: whoever follows the link
  // sees it, too.
  async copyLink(task, names, values) {
    const isOpen = String(this.seed(values[names.indexOf("seed")])).trim() === "";
    const shown = isOpen ? shownNoise(task) : {};
    const url = new URL(location.href);
    url.search = "";
    if (task !== FIRST_TAB) url.searchParams.set("tab", task);
    names.forEach((name, i) => {
      const value = shown[name] ?? lasting(values[i]);
      if (value === null || value === "") return;
      url.searchParams.set(name, typeof value === "object" ? JSON.stringify(value) : value);
    });
    await copyText(url.toString());
    const button = document.querySelector(`#${task}-link`);
    button.dataset.done = "yes";
    setTimeout(() => delete button.dataset.done, 1600);
  },

  // Settings that change what a painter shows; kept until its tab is opened for the first time.
  adjustPainter(id, values) {
    this.adjusted[id] = values;
    document.querySelector(`#${id} .painter`)?.painter?.adjust(...values);
  },
  adjusted: {},

  // The same of a canvas with boxes: its shape, and the picture under them.
  shapeBoxes(id, width, height) {
    this.shaped[id] = [width, height];
    boxesOf(id)?.reshape(width, height);
  },
  shaped: {},
  showUnderBoxes(id, picture) { boxesOf(id)?.show(picture?.url ?? null); },

  // Of the files that a task's tab removed and showed.
  names(task) { return [removedKey, rowKey].map((key) => JSON.stringify(stored(session, key(task), []))); },
  jobs() { return JSON.stringify(stored(session, JOBS_KEY, [])); },

  // Restores a picture that is dropped on a place which takes pictures, if it was made by one of
  // these tasks (without any: by any); whether it was.
  async restoreIfMade(file, ...tasks) {
    const task = await taskOf(file);
    if (!task || (tasks.length && !tasks.includes(task))) return false;
    restore(carrying(file).files);
    return true;
  },
};
window.latentCanvas = latentCanvas;

// By which a window's paintings are kept. A window that is duplicated takes along what stands in the
// session's storage: this does so only while there is no page.
const WINDOW_KEY = "latent-canvas-window";
latentCanvas.window = session.getItem(WINDOW_KEY) ?? Math.random().toString(36).slice(2);
addEventListener("pageshow", () => session.removeItem(WINDOW_KEY));
addEventListener("pagehide", () => session.setItem(WINDOW_KEY, latentCanvas.window));

const boxesOf = (id) => document.querySelector(`#${id} [data-part="frame"]`)?.boxes;
const removedKey = (task) => `latent-canvas-removed-${task}`;
const rowKey = (task) => `latent-canvas-row-${task}`;
const settingsKey = (task) => `latent-canvas-${task}`;
const byHandKey = (task) => `latent-canvas-${task}-by-hand`;

// What drew the picture on show; of a sheet of several seeds, or while another is made: nothing.
function shownNoise(task) {
  const plate = document.querySelector(`#${task}-plate .plate[data-seed]`);
  if (!plate || getComputedStyle(plate).visibility === "hidden") return { seed: "" };
  return { seed: plate.dataset.seed, variations: plate.dataset.variations };
}

// Of a canvas with boxes all but the picture under them, which is a file of this visit.
function lasting(value) {
  if (value === null || typeof value !== "object") return value;
  const { picture, ...rest } = value;
  return rest;
}

// A value that was kept, or stands in a link, as the widget takes it that has the value `now`.
function asTaken(now, value) {
  if (now !== null && typeof now === "object") return { ...now, ...parsed(value) };
  if (typeof now === "boolean") return String(value) === "true";
  if (typeof now !== "number") return String(value);
  return Number.isFinite(+value) ? +value : now;
}

function parsed(value) {
  if (typeof value !== "string") return value;
  try { return JSON.parse(value); } catch { return {}; }
}

// Why a value cannot be taken, as a sentence; "" if it can.
function faultOf(value, { label, choices, range, isWhole, other, longest }) {
  const got = `, got ${String(value).slice(0, 60)}.`;
  if (choices && !choices.some((choice) => String(choice) === String(value))) return `${label} must be one of ${choices.join(", ")}${got}`;
  if (longest && String(value).length > longest) return `${label} must be at most ${longest} characters, got ${String(value).length}.`;
  if (!range || value === other) return "";
  const number = String(value).trim() ? +value : NaN;
  const fits = range[0] <= number && number <= range[1] && (!isWhole || Number.isInteger(number));
  return fits ? "" : `${label} must be a ${isWhole ? "whole " : ""}number from ${range[0]} to ${range[1]}${got}`;
}

// What was not taken over, above the tabs: its setting may be out of sight.
function tell(sentences) {
  if (!sentences.length) return;
  const note = Object.assign(document.createElement("p"), { className: "not-taken" });
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×" });
  note.setAttribute("role", "alert");
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => note.remove());
  note.append(`Not taken over: ${sentences.join(" ")}`, close);
  document.querySelector("#tabs").before(note);
}

addEventListener("click", ({ target }) => { // whoever generates has read it
  if (target.closest?.(".lc-go")) for (const note of document.querySelectorAll(".not-taken")) note.remove();
});

const tabNames = () => [...document.querySelectorAll("#tabs button[role=tab]")].map(tabOf);
const tabOf = (button) => button.id.slice("tab-".length, -"-button".length);

function openTab(task) {
  const button = document.getElementById(`tab-${task}-button`);
  if (button && button.getAttribute("aria-selected") !== "true") button.click();
}

// Whoever opens a tab: a hand, the keyboard, or the server with a picture that was sent on.
new MutationObserver((changes) => {
  if (!document.body.dataset.ready) return; // which one was open before is still to be read
  for (const { target } of changes) if (target.matches("#tabs button[role=tab][aria-selected=true]")) opened(tabOf(target));
}).observe(document, { subtree: true, attributeFilter: ["aria-selected"] });

// The browser's Back and Forward lead from tab to tab.
addEventListener("popstate", ({ state }) => { if (state?.tab) openTab(state.tab); });

function opened(task) {
  ownStorage.setItem(TAB_KEY, JSON.stringify(task));
  if (history.state?.tab !== task) history.pushState({ tab: task }, "");
  setTimeout(() => { // a tab's own buttons are made when it is opened for the first time
    const [width, height] = ["width", "height"].map((side) => document.querySelector(`#${task}-${side} input`)?.value);
    if (width) markRatio(task, +width, +height);
    latentCanvas.markUndo(task);
    const studio = document.querySelector(`#${task}-studio`);
    if (studio?.getBoundingClientRect().top < 0) studio.scrollIntoView(); // sent here from far below
  }, RATIO_MS);
}

async function copyText(text) {
  if (navigator.clipboard) {
    try { await navigator.clipboard.writeText(text); return; } catch { /* not allowed: below */ }
  }
  const box = Object.assign(document.createElement("textarea"), { value: text }), before = document.activeElement;
  document.body.append(box);
  box.select();
  document.execCommand("copy"); // the only way on a page that is not served over https
  box.remove();
  before?.focus({ preventScroll: true });
}

// Which of a tab's ratio buttons the size agrees with.
function markRatio(task, width, height) {
  for (const button of document.querySelectorAll(`#${task}-studio button.ratio`)) {
    const [across, down] = button.textContent.split(":").map(Number);
    button.setAttribute("aria-pressed", width * down === height * across);
  }
}

function shade(name) {
  if (name) document.body.classList.toggle("dark", name === "dark");
}

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-shade]")) return;
  const name = document.body.classList.contains("dark") ? "light" : "dark";
  local.setItem(SHADE_KEY, JSON.stringify(name));
  shade(name);
});

// Gradio takes a number that is typed beside a slider for the nearest that fits, and an emptied one for
// the least, when its box is left. It stays as it was typed: Generate says what is allowed.
document.addEventListener("blur", (event) => {
  if (event.target.matches?.("[data-testid=number-input]")) event.stopPropagation();
}, true);

// An app that was started anew knows nothing of an open page: it is loaded again when somebody comes
// back to it, chooses one of its pictures or starts a run, and finds its settings and pictures. Never
// while something is written or painted, and once for each app: there may be several behind one address.
const LOOK_MS = 5000; // what was found is true for so long
const SEEN_KEY = "latent-canvas-apps";
const OF_THE_APP = ".lc-results, .lc-onward, .lc-row-tools";
let looked = -LOOK_MS;
const isLookedFor = () => performance.now() - looked < LOOK_MS;

// Whether the page is being loaded again.
async function lookForNewApp() {
  if (isLookedFor()) return false;
  looked = performance.now();
  const config = window.gradio_config, seen = stored(session, SEEN_KEY, []);
  try {
    const about = { cache: "no-store", signal: AbortSignal.timeout(LOOK_MS) };
    const answer = await fetch(`${config.root}${config.api_prefix ?? ""}/app_id`, about);
    const { app_id: now } = await answer.json();
    if (typeof now !== "number" || now === config.app_id || seen.includes(now)) return false;
    sessionStorage.setItem(SEEN_KEY, JSON.stringify([...seen, now])); // else nothing would come back, and it throws
    location.reload();
    return true;
  } catch {
    return false; // it is not there, or something else answers in its place
  } finally {
    looked = performance.now();
  }
}
addEventListener("focus", lookForNewApp);
document.addEventListener("visibilitychange", () => { if (!document.hidden) lookForNewApp(); });
addEventListener("pointerdown", ({ target }) => { if (target.closest?.(OF_THE_APP)) lookForNewApp(); }, true);

// Ctrl+Enter (or Cmd+Enter) presses the visible Generate button.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = [...document.querySelectorAll("button.lc-go")].find(isVisible);
  if (!button) return;
  event.preventDefault();
  if (!event.repeat) button.click();
}, true);

// The strip says which job it shows, and the queue under it which come next: remembered, so that a
// reload finds its pictures again.
function rememberJobs() {
  const jobs = stored(session, JOBS_KEY, []);
  const shown = [...document.querySelectorAll(":is(.strip, .waiting i)[data-job]")].map((one) => one.dataset.job);
  const fresh = shown.filter((id) => id && !jobs.includes(id));
  if (!fresh.length) return;
  session.setItem(JOBS_KEY, JSON.stringify([...jobs, ...fresh].slice(-MAX_JOBS)));
}
new MutationObserver(rememberJobs).observe(document, { childList: true, subtree: true });
