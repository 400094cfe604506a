// A finished picture seen close up: in the stage, and in a window of its own. The wheel or two fingers
// zoom around the pointer, dragging moves, a double click or the keys + - 0 and the arrows do the rest.
const CLOSEST = 16; // screen px per px of the picture
const CLOSE = 3; // what a double click shows of a picture that is no larger than its place
const KEY_PX = 60; // an arrow key moves by this
const LARGEST_TILED = 4096; // px of a side
const FRAME = ".lc-wall, dialog.closer";
const PLACE = ".lc-picture, .stand"; // in a frame: what the picture is seen through

const looks = new WeakMap(); // img -> {scale, x, y}: how it is moved from where it stands by itself
const pointers = new Map(); // those that are down on it -> [x, y]
let grabbed = null; // the img that is being dragged

const frameAt = (target) => target?.closest?.(FRAME);
const pictureIn = (frame) => { // once it is loaded
  const img = frame?.querySelector(".lc-picture img, .stand img");
  return img?.naturalWidth ? img : null;
};
const lookOf = (img) => looks.get(img) ?? { scale: 1, x: 0, y: 0 };
const isClose = (img) => looks.has(img);

// Where the picture is when it is not zoomed, without the empty sides of its box; and its place.
function standing(img) {
  const { scale, x, y } = lookOf(img), box = img.getBoundingClientRect();
  const place = img.closest(PLACE).getBoundingClientRect();
  const [width, height] = [box.width / scale, box.height / scale];
  const fit = Math.min(width / img.naturalWidth, height / img.naturalHeight);
  const [w, h] = [img.naturalWidth * fit, img.naturalHeight * fit];
  const [left, top] = [box.left - x, box.top - y];
  return { left, top, w, h, aside: (width - w) / 2, above: (height - h) / 2, place, actual: 1 / fit / devicePixelRatio };
}

// One side of the look: no gap where the picture is larger than its place, in the middle where not.
function held(moved, origin, aside, length, scale, from, to) {
  const start = origin + aside * scale, side = length * scale;
  if (side <= to - from) return (from + to - side) / 2 - start;
  return Math.min(from - start, Math.max(to - side - start, moved));
}

function look(img, scale, x, y) {
  const { left, top, w, h, aside, above, place, actual } = standing(img);
  x = held(x, left, aside, w, scale, place.left, place.right);
  y = held(y, top, above, h, scale, place.top, place.bottom);
  const whole = Math.abs(scale - 1) < 1e-3;
  if (whole) looks.delete(img);
  else looks.set(img, { scale, x, y });
  img.style.transformOrigin = "0 0";
  img.style.transform = whole ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
  // close up, pixels are seen as they are
  img.style.imageRendering = !whole && scale / actual > 3 ? "pixelated" : "";
  const frame = frameAt(img);
  frame.toggleAttribute("data-close", !whole);
  frame.querySelector("[data-part=share]").textContent = `Zoom ${Math.round(100 * scale / actual)} %`;
}

function zoom(img, factor, clientX, clientY) {
  const { left, top, place, actual } = standing(img), { scale, x, y } = lookOf(img);
  clientX ??= (place.left + place.right) / 2;
  clientY ??= (place.top + place.bottom) / 2;
  const next = Math.max(Math.min(1, actual), Math.min(scale * factor, Math.max(CLOSE, CLOSEST * actual)));
  const moved = (at, origin, by) => at - origin - (at - origin - by) * next / scale;
  look(img, next, moved(clientX, left, x), moved(clientY, top, y));
}

const move = (img, dx, dy) => { const { scale, x, y } = lookOf(img); look(img, scale, x + dx, y + dy); };

const DO = {
  in: (img) => zoom(img, 1.4),
  out: (img) => zoom(img, 1 / 1.4),
  fit: (img) => look(img, 1, 0, 0),
  actual: (img, ...at) => zoom(img, standing(img).actual / lookOf(img).scale, ...at),
  tile: (img) => (img.dataset.alone ? show(img, img.dataset.alone) : tile(img)),
  hold: (img) => hold(img.closest("dialog"), img),
};

// --- mouse, pen and fingers

document.addEventListener("wheel", (event) => {
  const frame = frameAt(event.target), img = pictureIn(frame);
  // the page scrolls under the wheel unless the person is at work here; a touch pad pinches with ctrl
  if (!img || !(event.ctrlKey || isClose(img) || frame.contains(document.activeElement))) return;
  event.preventDefault();
  zoom(img, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), event.clientX, event.clientY);
}, { passive: false });

document.addEventListener("pointerdown", (event) => {
  const frame = event.target.closest(PLACE) && frameAt(event.target), img = pictureIn(frame);
  const button = event.target.closest("button, a"); // Gradio puts the picture itself into one
  if (!img || event.button !== 0 || (button && !button.contains(img))) return;
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  grabbed = img;
  frame.tabIndex = -1; // from here on the keys are its own
  if (!frame.contains(document.activeElement)) frame.focus({ preventScroll: true });
});

document.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId), after = [event.clientX, event.clientY];
  if (!before || !grabbed.isConnected) return;
  pointers.set(event.pointerId, after);
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
  if (others.length === 1) pinch(before, after, others[0]);
  else if (isClose(grabbed) && !others.length) move(grabbed, after[0] - before[0], after[1] - before[1]);
});

function pinch(before, after, other) {
  const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
  move(grabbed, (after[0] - before[0]) / 2, (after[1] - before[1]) / 2);
  zoom(grabbed, apart(after) / apart(before), (after[0] + other[0]) / 2, (after[1] + other[1]) / 2);
}

for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) grabbed = null;
  });
}
// two fingers, or one on a picture that is close, are ours and not the page's
document.addEventListener("touchmove", (event) => {
  if (grabbed && (event.touches.length === 2 || isClose(grabbed))) event.preventDefault();
}, { passive: false });
document.addEventListener("dragstart", (event) => { if (grabbed && isClose(grabbed)) event.preventDefault(); });

document.addEventListener("dblclick", (event) => {
  const img = event.target.closest(PLACE) && pictureIn(frameAt(event.target));
  if (!img) return;
  if (isClose(img)) DO.fit(img);
  else zoom(img, Math.max(standing(img).actual, CLOSE), event.clientX, event.clientY);
});

// --- buttons and keys

const HOLD = "Hold beside"; // the button that keeps one picture beside others
const WIDE = 2; // width / height from which on two are larger one above the other
const TINY_PX = 64; // so small a picture is shown in its pixels
// too large to be made four times as large, see check_canvas in ldm/requests/canvas.py
const isLarge = (w, h) => w * h > 2_500_000 || Math.max(w, h) > 4096;
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "actual" };
const TURN = { ArrowLeft: -1, ArrowRight: 1 }; // to another picture, in a window of its own
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

document.addEventListener("keydown", (event) => {
  const img = pictureIn(frameAt(event.target));
  if (!img || event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = isClose(img) && ARROWS[event.key], dialog = event.target.closest("dialog.closer");
  if (dialog && !arrow && TURN[event.key]) turn(dialog, TURN[event.key]);
  else if (arrow) move(img, KEY_PX * arrow[0], KEY_PX * arrow[1]);
  else if (KEYS[event.key]) DO[KEYS[event.key]](img);
  else return;
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-zoom]"), img = button && pictureIn(frameAt(button));
  if (img) DO[button.dataset.zoom](img);
});

// Another picture is seen whole; the style sheet makes it as large as its shape allows.
// It has no size while its tab is closed, and another one in another window.
const sized = new ResizeObserver((entries) => {
  for (const { target: img, contentRect } of entries) {
    if (!contentRect.width || img !== pictureIn(frameAt(img))) continue;
    const { scale, x, y } = lookOf(img);
    look(img, scale, x, y);
  }
});

document.addEventListener("load", (event) => {
  const img = event.target;
  if (img.tagName !== "IMG" || img !== pictureIn(frameAt(img))) return;
  followClosely(img);
  sized.observe(img);
  img.style.setProperty("--ratio", img.naturalWidth / img.naturalHeight);
  img.toggleAttribute("data-tiny", Math.max(img.naturalWidth, img.naturalHeight) <= TINY_PX);
  img.toggleAttribute("data-large", isLarge(img.naturalWidth, img.naturalHeight));
  look(img, 1, 0, 0);
}, true);

// --- a window of its own, for the tabs that show their picture under a slider or boxes too

function lookCloser(task) {
  const shown = document.querySelector(`#${task}-picture img`);
  if (!shown) return;
  const dialog = document.createElement("dialog");
  dialog.className = "closer";
  dialog.setAttribute("aria-label", "The picture, close up");
  const img = Object.assign(document.createElement("img"), { src: shown.src, alt: shown.alt });
  const bar = document.querySelector(`#${task}-wall .zoom-bar`).cloneNode(true);
  for (const [name, text, title] of [["tile", "Tiled", "Beside itself: its edges meet"], ["hold", HOLD, "Stays while you turn to others"]]) {
    bar.append(Object.assign(document.createElement("button"), { type: "button", className: name, textContent: text, title }));
    bar.lastChild.dataset.zoom = name;
  }
  const stand = document.createElement("div"), close = document.createElement("button");
  stand.className = "stand";
  stand.append(img);
  Object.assign(close, { type: "button", className: "close", textContent: "×", title: "Close (Escape)" });
  close.setAttribute("aria-label", "Close");
  close.onclick = () => dialog.close();
  dialog.onclose = () => {
    dialog.remove();
    if (history.state?.closer) history.back(); // it was closed by hand
  };
  const turns = [["‹", "Picture before (left arrow)", -1], ["›", "Next picture (right arrow)", 1]].map(([text, title, by]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: `turn by${by}`, textContent: text, title });
    button.setAttribute("aria-label", title.split(" (")[0]);
    button.onclick = () => turn(dialog, by);
    return button;
  });
  dialog.dataset.task = task;
  dialog.append(stand, bar, close, ...turns);
  turn(dialog, 0);
  document.querySelector(`#${task}-studio`).append(dialog); // whose plate says whether it is seamless
  dialog.tabIndex = -1; // the keys are its own from the start
  dialog.showModal();
  dialog.focus();
  history.pushState({ ...history.state, closer: true }, ""); // the browser's Back closes it and stays here
}
addEventListener("popstate", () => document.querySelector("dialog.closer")?.close());
const shownIn = (dialog) => document.querySelector(`#${dialog.dataset.task}-picture img`);
// To another picture of the row, which comes on show in the tab too.
function turn(dialog, by) {
  const row = thumbnails(dialog.dataset.task), img = dialog.querySelector(".stand img");
  if (by && img.dataset.alone) show(img, img.dataset.alone);
  const at = row.findIndex((button) => isOf(button.querySelector("img"), img));
  const next = row[at + by]?.querySelector("img");
  if (by && next) {
    const shown = shownIn(dialog), isThere = isOf(next, shown);
    show(img, isThere ? shown.src : next.src);
    img.toggleAttribute("data-part", !isThere && Boolean(row[at + by].dataset.long)); // its middle only
    img.alt = next.alt;
    turnTo(row[at + by]);
  }
  const now = at + (next ? by : 0);
  for (const side of [-1, 1]) {
    const arrow = dialog.querySelector(`.by${side}`);
    arrow.disabled = !row[now + side];
    if (arrow.disabled && arrow === document.activeElement) dialog.focus(); // whose keys go on
  }
}
// What was turned to is a small picture at first, if it is a large one.
function followClosely(shown) {
  const img = document.querySelector("dialog.closer .stand img");
  if (img && img !== shown && img.alt === shown.alt && shown.closest(`#${img.closest("dialog").dataset.task}-picture`)) show(img, shown.src);
}
function show(img, src) {
  delete img.dataset.alone;
  delete img.dataset.part;
  img.src = src;
}
// One picture stays on the left (above, on a phone or if it is wide) while others are turned to beside it.
function hold(dialog, img) {
  const before = dialog.querySelector(".held"), button = dialog.querySelector(".hold");
  if (before) before.remove();
  else {
    const shown = shownIn(dialog);
    if (!isOf(img, shown)) { // it was turned to just now, and is a small one still
      if (dialog.isConnected) setTimeout(() => hold(dialog, img), SHOWN_MS);
      return;
    }
    const copy = Object.assign(document.createElement("img"), { className: "held", src: shown.src, alt: img.alt });
    copy.onload = () => copy.toggleAttribute("data-wide", copy.naturalWidth > WIDE * copy.naturalHeight);
    dialog.querySelector(".stand").after(copy);
    dialog.querySelector(".turn:not(:disabled)")?.click(); // beside itself it says nothing
  }
  button.textContent = before ? HOLD : "Let go";
  button.setAttribute("aria-pressed", !before);
}
// A seamless picture beside itself; `data-alone` is where it lies by itself.
function tile(img) {
  const meet = img.closest(".lc-studio").querySelector(".plate[data-seamless]")?.dataset.seamless;
  const [across, down] = [meet === "down" ? 1 : 2, meet === "across" ? 1 : 2];
  const share = Math.min(1, LARGEST_TILED / Math.max(across * img.naturalWidth, down * img.naturalHeight));
  const [w, h] = [img.naturalWidth, img.naturalHeight].map((side) => Math.round(side * share));
  const canvas = Object.assign(document.createElement("canvas"), { width: across * w, height: down * h });
  for (let x = 0; x < across; x++) for (let y = 0; y < down; y++) canvas.getContext("2d").drawImage(img, x * w, y * h, w, h);
  const alone = img.src;
  canvas.toBlob((blob) => {
    if (img.src !== alone) return; // another one was turned to
    const tiled = URL.createObjectURL(blob);
    img.addEventListener("load", () => URL.revokeObjectURL(tiled), { once: true });
    img.dataset.alone = alone;
    img.src = tiled;
  });
}
document.addEventListener("click", (event) => {
  const button = event.target.closest?.(".lc-closer");
  if (button) lookCloser(button.id.slice(0, -"-closer".length));
});
