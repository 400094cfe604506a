// The thumbnails: what each is called, which one is on show, and what was removed of them.
const SHEET = "Sheet: "; // begins the name of one, see ui/words.py
const SHOWN_MS = 100; // until what a button was given is there
const thumbnails = (task) => [...document.querySelectorAll(`#${task}-results .thumbnail-lg`)];

// Whether a thumbnail is of a picture: that itself, or a small one of the same name.
const isOf = (thumbnail, picture) => thumbnail.src === picture?.src || (thumbnail.alt !== "" && thumbnail.alt === picture?.alt);

// Of several that are turned to quickly the last one comes on show: clicks may overtake one another on
// their way to the server.
const REST_MS = 120;
let turning = 0;
function turnTo(thumbnail) {
  clearTimeout(turning);
  turning = setTimeout(() => thumbnail.click(), REST_MS);
}

// Gradio calls them "Thumbnail 1 of 6", and the shown one is the one with the stage's picture.
function nameThumbnails() {
  for (const button of document.querySelectorAll(".strip-of-pictures .thumbnail-lg")) {
    const name = button.querySelector("img")?.alt;
    if (name && button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
    button.toggleAttribute("data-sheet", Boolean(name?.startsWith(SHEET)));
  }
  for (const row of document.querySelectorAll(".lc-results")) {
    const task = row.id.slice(0, -"-results".length);
    const shown = document.querySelector(`#${task}-picture img`);
    for (const button of thumbnails(task)) {
      const img = button.querySelector("img"), isShown = Boolean(img && shown && isOf(img, shown));
      if (isShown === button.hasAttribute("aria-current")) continue;
      if (isShown) button.setAttribute("aria-current", "true"); // an empty one is read as "false"
      else button.removeAttribute("aria-current");
    }
  }
}

// Of a long picture the middle is seen: all of it would be too small to be known again.
const LONGEST = 2; // longer side / shorter side, see ui/thumbnails.py
document.addEventListener("load", ({ target: img }) => {
  const cell = img.closest?.(".strip-of-pictures .thumbnail-lg");
  if (!cell) return;
  const ratio = img.naturalWidth / img.naturalHeight;
  const long = ratio >= LONGEST ? "across" : ratio <= 1 / LONGEST ? "down" : "";
  if (long !== (cell.dataset.long ?? "")) cell.dataset.long = long;
}, true);

// In the history, the first picture of each day says which day that is; its name ends in day and time,
// and says before them whether it is a favourite.
const MADE = /(\d{4})-(\d\d)-(\d\d) [\d:]+$/, STARRED = /, a favourite, [\d-]+ [\d:]+$/;
function nameDays() {
  let before = "";
  for (const button of thumbnails("history")) {
    const name = button.querySelector("img")?.alt ?? "";
    button.toggleAttribute("data-star", STARRED.test(name));
    const [year, month, day] = name.match(MADE)?.slice(1) ?? [];
    const now = `${year}-${month}-${day}`, shown = year && now !== before ? dayName(year, month, day) : "";
    if (shown !== (button.dataset.day ?? "")) button.dataset.day = shown;
    before = now;
  }
}

function dayName(year, month, day) {
  const about = { weekday: "short", day: "numeric", month: "short" };
  if (Number(year) !== new Date().getFullYear()) Object.assign(about, { weekday: undefined, year: "numeric" });
  return new Date(year, month - 1, day).toLocaleDateString("en-GB", about).replace(",", "");
}

// Kept for a reload, which finds the pictures of this visit by their jobs, or by their names if the app
// was started anew.
function rememberRow() {
  for (const mark of document.querySelectorAll("[data-removed]")) {
    const task = mark.closest("[id$=-gone]").id.slice(0, -"-gone".length);
    session.setItem(removedKey(task), mark.dataset.removed);
    session.setItem(rowKey(task), mark.dataset.row ?? "[]");
  }
}

// An error stands in the strip, which may be out of sight. At once: what glides cannot be drawn on.
const seenFailures = new Set(); // when they were told: Gradio changes the strip and keeps its node
function showFailures() {
  for (const strip of document.querySelectorAll(".strip.failed")) {
    if (seenFailures.has(strip.dataset.told)) continue;
    seenFailures.add(strip.dataset.told);
    strip.removeAttribute("data-mended");
    scrollTo({ top: scrollY, behavior: "instant" }); // else the glide to the place goes on past it
    strip.scrollIntoView({ block: "nearest" });
  }
}

// A picture that was removed in the history is no thumbnail any more, and a file that is no picture is
// none in its field; another one may take its node.
const PICTURES = ".lc-results .thumbnail-lg, .field-image img";
const tells = (gone) => (event) => event.target.closest?.(PICTURES)?.toggleAttribute("data-gone", gone);
document.addEventListener("error", tells(true), true);
document.addEventListener("load", tells(false), true);

let frame = 0; // once for all that changes until the page is drawn: a brush changes much
function lookAgain() {
  frame = 0;
  nameThumbnails();
  nameDays();
  rememberRow();
  showFailures();
}
new MutationObserver(() => { frame ||= requestAnimationFrame(lookAgain); }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["src", "alt", "data-removed", "data-told"] });

// One of the runs that wait is taken out of the queue by a button in their list; two quick clicks may
// be sent together.
latentCanvas.dropped = [];
document.addEventListener("click", ({ target }) => {
  const button = target.closest?.(".waiting [data-drop]");
  if (!button) return;
  latentCanvas.dropped.push(button.dataset.drop);
  button.closest(".lc-queue").querySelector(".lc-drop-one").click();
});

// The archive is packed: the button that Gradio downloads with, never seen, has its address.
latentCanvas.download = (task) => setTimeout(() => document.querySelector(`#${task}-archive`).click(), SHOWN_MS);

// What starts a run waits for the examples that were chosen before it and are still on their way, and
// for the model that suits what was written.
const STARTS = ".lc-go, .lc-comparing-go, .lc-see, .lc-vary";
const TWICE_MS = 350; // between the two clicks or taps of a double one, at most
const FILLING_MS = 20000; // an answer that takes longer will never come
const CHOOSES = "#inpaint-studio :is(.field-prompt, .field-negative-prompt) :is(textarea, input)";
function fillIn(studio) {
  studio.filling = (studio.filling || 0) + 1;
  clearTimeout(studio.patience);
  studio.patience = setTimeout(() => { studio.filling = 0; startWanted(studio, false); }, FILLING_MS);
}
document.addEventListener("blur", ({ target }) => { if (target.matches?.(CHOOSES)) fillIn(target.closest(".lc-studio")); }, true);
document.addEventListener("click", (event) => {
  const studio = event.target.closest?.(".lc-studio");
  if (event.target.closest?.(".lc-examples .thumbnail-lg")) fillIn(studio);
  const button = event.target.closest?.(STARTS);
  if (!button) return;
  const isTwice = event.isTrusted && event.timeStamp - (button.pressed ?? -TWICE_MS) < TWICE_MS;
  if (event.isTrusted) button.pressed = event.timeStamp;
  if (!isTwice && !studio.filling && isLookedFor()) return;
  event.stopImmediatePropagation();
  if (isTwice) return;
  if (!studio.filling) { // is the app still the one that the page is of?
    lookForNewApp().then((isNew) => { if (!isNew) button.click(); });
    return;
  }
  startWanted(studio, false);
  studio.wanted = button;
  button.dataset.waits = "";
}, true);
// A key that is held down presses a button once.
document.addEventListener("keydown", (event) => {
  if (event.repeat && event.target.matches?.(STARTS)) event.preventDefault();
}, true);
// Starts the run that waits for an example, or gives it up.
function startWanted(studio, isGo) {
  const { wanted } = studio;
  studio.wanted = null;
  if (!wanted) return;
  delete wanted.dataset.waits;
  if (isGo) wanted.click();
}
latentCanvas.filled = (task, isThere) => setTimeout(() => {
  const studio = document.querySelector(`#${task}-studio`);
  studio.filling = Math.max(0, (studio.filling || 0) - 1);
  startWanted(studio, isThere); // held once more if another example is on its way
}, SHOWN_MS);

// On a phone what an example fills in may be far above it, and where the picture comes far below; with
// many settings open that is so on a desk, too.
// Who wants less to move gets there at once: a browser glides for them, too, when it is told to.
const glide = () => ({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
const isInWindow = ({ top, bottom }) => bottom > 120 && top < innerHeight - 120;
document.addEventListener("click", (event) => {
  const studio = event.target.closest?.(".lc-studio"), isPhone = matchMedia("(max-width: 820px)").matches;
  if (isPhone && event.target.closest?.(".lc-examples .thumbnail-lg")) studio.scrollIntoView(glide());
  if (event.target.closest?.(`${STARTS}, #history-results .thumbnail-lg`)) {
    const place = [...studio.querySelectorAll(".lc-wall, .lc-compare")].find(isVisible);
    if (place && (isPhone || !isInWindow(place.getBoundingClientRect()))) place.scrollIntoView(glide());
  }
});
