// What is replaced all at once, by an example, a picture's, a model's or a link's, can be had back: the
// settings, and what is painted or loaded.
const MANY_STEPS = 20;
const REPLACES = ".lc-examples .thumbnail-lg, .lc-use, .lc-reopen, .lc-defaults, .lc-onward button";
const LARGE = ["path", "width", "height", "labels"]; // what tells a picture or a painting from another
const replaced = {}; // task -> what was there, the newest last
const held = {}; // task -> name -> a picture or a painting, which settings are kept without

const picturesKey = (task) => `latent-canvas-pictures-${task}`;

const stateNow = (task) => ({ settings: ownStorage.getItem(settingsKey(task)), large: held[task] ? { ...held[task] } : null });

function isSameLarge(a, b) {
  if (!a || !b) return !a === !b;
  return LARGE.every((name) => a[name] === b[name]) && a.picture?.path === b.picture?.path;
}
function isSame(a, b) {
  const names = a.large && b.large ? Object.keys({ ...a.large, ...b.large }) : [];
  return a.settings === b.settings && names.every((name) => isSameLarge(a.large[name], b.large[name]));
}

// `large` where it is not what is held; null: it is not known.
function rememberState(task, large) {
  const now = stateNow(task), steps = (replaced[task] ??= []);
  if (large !== undefined) now.large = large;
  if (now.settings && !(steps.length && isSame(steps.at(-1), now))) replaced[task] = [...steps, now].slice(-MANY_STEPS);
}
// Before a button, or a file, replaces settings of whichever tab.
function rememberAll() {
  for (const task of latentCanvas.tasks) rememberState(task);
}
// The tasks whose settings a button may replace: its own tab's, those it sends to, of a picture's any.
function replacedBy(button) {
  if (button.matches(".lc-reopen")) return latentCanvas.tasks;
  if (button.matches(".lc-onward button:not(.lc-use)")) return latentCanvas.tasks.filter((task) => button.id.endsWith(`-to-${task}`));
  return latentCanvas.tasks.filter((task) => button.closest(`#${task}-studio`));
}
document.addEventListener("click", (event) => {
  const button = event.target.closest?.(REPLACES);
  if (button) replacedBy(button).forEach((task) => rememberState(task));
}, true);
document.addEventListener("change", (event) => { if (event.target.closest?.(".lc-tools")) rememberAll(); }, true);

latentCanvas.hold = (task, names, values) => {
  held[task] = Object.fromEntries(names.map((name, i) => [name, values[i]]));
  const pictures = Object.entries(held[task]).filter(([, value]) => value?.path && value.url);
  session.setItem(picturesKey(task), JSON.stringify(Object.fromEntries(pictures)));
  latentCanvas.changed(task);
  latentCanvas.markUndo(task);
};

latentCanvas.markUndo = (task) => {
  const studio = document.querySelector(`#${task}-studio`), now = stateNow(task);
  studio?.toggleAttribute("data-replaced", (replaced[task] ?? []).some((step) => !isSame(step, now)));
};

latentCanvas.undo = (task, names, values) => {
  const steps = replaced[task] ?? [], now = stateNow(task);
  while (steps.length && isSame(steps.at(-1), now)) steps.pop();
  const step = steps.pop() ?? now, kept = JSON.parse(step.settings ?? "{}");
  return names.map((name, i) => {
    if (now.large && name in now.large) return (step.large ?? now.large)[name] ?? null;
    const value = kept[name] ?? "";
    return !(name in kept) || (value === "" && typeof values[i] === "number") ? values[i] : asTaken(values[i], value);
  });
};

// The tab whose settings come from a link, which tells of no picture: it would change what is made.
const linked = new URLSearchParams(location.search);
const linkedTask = [...linked.keys()].some((name) => name !== "tab") ? linked.get("tab") ?? FIRST_TAB : null;

// A picture that was loaded stays on the server for a day: a reload brings it back, while it is there.
// names: [task, input] of each.
latentCanvas.pictures = (names) => Promise.all(names.map(async ([task, name]) => {
  const picture = stored(session, picturesKey(task), {})[name], nothing = { __type__: "update" };
  if (!picture || task === linkedTask || held[task]?.[name]) return nothing; // somebody was faster
  const isThere = await fetch(picture.url, { method: "HEAD" }).then((answer) => answer.ok, () => false);
  return isThere && !held[task]?.[name] ? picture : nothing;
}));
