// Several pictures of the history at once. While they are chosen, a click marks a picture instead of
// showing it; with Shift all from the last one on. Ctrl or Cmd and a click begin with that picture.
const marks = new Set(); // addresses of thumbnails, which stay when more of them are shown
let lastMarked = null; // address of the one that was marked last
const history = () => document.getElementById("history-studio");
const all = () => [...document.querySelectorAll("#history-results .thumbnail-lg")];
const address = (thumbnail) => thumbnail.querySelector("img")?.src;
const isMarked = (thumbnail) => marks.has(address(thumbnail));
const isChoosing = () => history()?.hasAttribute("data-several") ?? false;

function choosing(isOn) {
  history().toggleAttribute("data-several", isOn);
  if (!isOn) marks.clear();
  lastMarked = null;
  show();
}

function mark(thumbnail, isRange) {
  const there = all(), to = there.indexOf(thumbnail);
  const from = there.findIndex((one) => lastMarked !== null && address(one) === lastMarked);
  if (isRange && from >= 0) there.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((one) => marks.add(address(one)));
  else if (!marks.delete(address(thumbnail))) marks.add(address(thumbnail));
  lastMarked = address(thumbnail);
  show();
}

function show() {
  const isOn = isChoosing();
  for (const thumbnail of all()) {
    if (isOn) thumbnail.setAttribute("aria-pressed", isMarked(thumbnail));
    else thumbnail.removeAttribute("aria-pressed");
  }
  const count = all().filter(isMarked).length, told = document.querySelector("#history-several [data-part=marked]");
  const words = count ? `${count} chosen` : "Click on pictures to choose them";
  if (told && told.textContent !== words) told.textContent = words;
  for (const button of document.querySelectorAll("#history-several :is(.lc-several-save, .lc-several-star, .lc-several-remove)")) button.toggleAttribute("data-none", !count);
}

latentCanvas.marked = () => JSON.stringify(all().flatMap((one, index) => (isMarked(one) ? [[index, one.querySelector("img").alt]] : [])));
latentCanvas.choosing = choosing;

document.addEventListener("click", (event) => {
  const thumbnail = event.target.closest?.("#history-results .thumbnail-lg"), isMore = event.ctrlKey || event.metaKey;
  if (thumbnail && (isChoosing() || isMore)) {
    event.preventDefault();
    event.stopImmediatePropagation(); // Gradio would show it
    if (!isChoosing()) choosing(true);
    mark(thumbnail, event.shiftKey);
  }
  const button = event.target.closest?.("#history-studio button");
  if (button?.matches(".lc-several-begin")) choosing(true);
  if (button?.matches(".lc-several-done")) choosing(false);
  if (button?.matches(".lc-several-all")) {
    all().forEach((one) => marks.add(address(one)));
    show();
  }
}, true);
document.addEventListener("keydown", ({ key, target }) => {
  if (key !== "Escape" || !isChoosing() || history().offsetParent === null) return;
  if (!target.closest?.("dialog, input, textarea, [role=listbox]")) choosing(false);
});
// Gradio gives a node of the gallery to another picture when there are others
new MutationObserver(() => { if (isChoosing()) show(); }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["src"] });
