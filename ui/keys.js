// Arrow keys, where a screen reader says that there are some: between the tabs, and between the pictures
// of a row or the history, of which each comes on show. Delete takes the one on show away.
const STEPS = { ArrowLeft: -1, ArrowRight: 1 }, ENDS = ["Home", "End"], ROWS = { ArrowUp: -1, ArrowDown: 1 };
const REMOVES = "[id$='-remove'], #history-take-out";
const GONE_MS = 3000; // until what was removed is not seen any more, at most

function besideIt(all, here, key) {
  if (ENDS.includes(key)) return all.at(key === "Home" ? 0 : -1);
  const top = (one) => Math.round(one.getBoundingClientRect().top);
  const columns = all.filter((one) => top(one) === top(all[0])).length;
  return all[all.indexOf(here) + (STEPS[key] ?? ROWS[key] * columns)];
}

function inTabs(tab, event) {
  if (!(event.key in STEPS) && !ENDS.includes(event.key)) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")].filter(isVisible);
  event.preventDefault();
  const next = besideIt(tabs, tab, event.key);
  next?.focus();
  next?.click();
}

function inPictures(thumbnail, event) {
  const strip = thumbnail.closest(".strip-of-pictures"), all = [...strip.querySelectorAll(".thumbnail-lg")];
  const isRow = strip.matches(".lc-results"), isSeveral = strip.closest("[data-several]") !== null;
  if (event.key === "Delete" && isRow) return remove(strip, all.indexOf(thumbnail), isSeveral);
  if (!(event.key in STEPS || event.key in ROWS) && !ENDS.includes(event.key)) return;
  event.preventDefault();
  const next = besideIt(all, thumbnail, event.key);
  next?.focus();
  if (isRow && !isSeveral) next?.click();
}

// The next picture takes its place and the focus.
function remove(strip, at, isSeveral) {
  const studio = strip.closest(".lc-studio"), there = () => strip.querySelectorAll(".thumbnail-lg");
  if (isSeveral) return studio.querySelector(".lc-several-remove").click();
  const count = there().length, until = performance.now() + GONE_MS;
  [...studio.querySelectorAll(REMOVES)].find(isVisible)?.click();
  const look = () => {
    if (there().length < count) there()[Math.min(at, count - 2)]?.focus();
    else if (performance.now() < until) requestAnimationFrame(look);
  };
  look();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const tab = event.target.closest?.("[role=tab]"), thumbnail = event.target.closest?.(".strip-of-pictures .thumbnail-lg");
  if (tab) inTabs(tab, event);
  if (thumbnail) inPictures(thumbnail, event);
});
