// Arrow keys, where a screen reader says that there are some: between the tabs, and between the pictures
// of a row or the history, of which each comes on show. Delete takes the one on show away.
const STEPS = { ArrowLeft: -1, ArrowRight: 1 }, ENDS = ["Home", "End"], ROWS = { ArrowUp: -1, ArrowDown: 1 };
const REMOVES = "[id$='-remove'], #history-take-out";
const GONE_MS = 3000; // until a picture is on show, or what was removed is not seen any more, at most

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
  if (event.key === "Delete" && isRow) return event.repeat ? undefined : remove(thumbnail, all, isSeveral);
  if (!(event.key in STEPS || event.key in ROWS) && !ENDS.includes(event.key)) return;
  event.preventDefault();
  const next = besideIt(all, thumbnail, event.key);
  next?.focus();
  if (next && isRow && !isSeveral) turnTo(next);
}

// Once it is on show, the picture that has the focus is removed; the next one takes its place and the focus.
async function remove(thumbnail, all, isSeveral) {
  const strip = thumbnail.closest(".strip-of-pictures"), studio = strip.closest(".lc-studio");
  if (isSeveral) return studio.querySelector(".lc-several-remove").click();
  const there = () => strip.querySelectorAll(".thumbnail-lg"), isShown = () => thumbnail.hasAttribute("aria-current");
  clearTimeout(turning);
  if (!isShown()) thumbnail.click();
  if (!await happens(isShown)) return;
  [...studio.querySelectorAll(REMOVES)].find(isVisible)?.click();
  if (await happens(() => there().length < all.length)) there()[Math.min(all.indexOf(thumbnail), all.length - 2)]?.focus();
}

async function happens(isSo) {
  for (const end = performance.now() + GONE_MS; performance.now() < end && !isSo();) await new Promise(requestAnimationFrame);
  return isSo();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const tab = event.target.closest?.("[role=tab]"), thumbnail = event.target.closest?.(".strip-of-pictures .thumbnail-lg");
  if (tab) inTabs(tab, event);
  if (thumbnail) inPictures(thumbnail, event);
});
