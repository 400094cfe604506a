// Settings that are replaced all at once, by an example, a picture's, a model's or a link's, can be
// had back.
const MANY_STEPS = 20;
const REPLACES = ".lc-examples .thumbnail-lg, .lc-use, .lc-defaults, .lc-to-inpaint, .lc-to-upscale";
const replaced = {}; // task -> settings as text, the newest last
const settingsNow = (task) => localStorage.getItem(settingsKey(task));

function rememberSettings(task) {
  const now = settingsNow(task), steps = (replaced[task] ??= []);
  if (now && now !== steps.at(-1)) replaced[task] = [...steps, now].slice(-MANY_STEPS);
}
// Before a button, or a file, replaces settings of whichever tab.
function rememberAll() {
  for (const { id } of document.querySelectorAll(".lc-studio")) rememberSettings(id.slice(0, -"-studio".length));
}
document.addEventListener("click", (event) => { if (event.target.closest?.(REPLACES)) rememberAll(); }, true);
document.addEventListener("change", (event) => { if (event.target.closest?.(".lc-tools")) rememberAll(); }, true);

latentCanvas.markUndo = (task) => {
  const studio = document.querySelector(`#${task}-studio`);
  studio?.toggleAttribute("data-replaced", (replaced[task] ?? []).some((step) => step !== settingsNow(task)));
};

latentCanvas.undo = (task, names, values) => {
  const steps = replaced[task] ?? [], now = settingsNow(task);
  while (steps.length && steps.at(-1) === now) steps.pop();
  const kept = JSON.parse(steps.pop() ?? "{}");
  return names.map((name, i) => {
    const value = kept[name] ?? "";
    return !(name in kept) || (value === "" && typeof values[i] === "number") ? values[i] : asTaken(values[i], value);
  });
};
