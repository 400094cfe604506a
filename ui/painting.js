// The editor: a hand's movements become class numbers, every change can be undone, and the value that
// the server reads is always what is seen. The parts are in the other painting_*.js.

const root = element.querySelector(".painter");
const kind = props.kind, store = props.store || null;
const parts = makeBar(root, kind);
const { board } = parts;
const view = makeView(board, kind);
const past = makeHistory();
let palette = props.palette, surface = null, shadow = null, picture = null;
let tool = "brush", ink = 1, size = 32, sizeChosen = false;
let last = null; // the mask of the picture before: {width, height, runs}
let changes = 0, stroke = null, panning = null, spaceHeld = false, sent = null, turn = 0;
let arriving = 0; // the turn of the newest value from Python
let echoes = false; // the next value is what was just sent
const touches = new Map();
root.dataset.kind = kind;

// --- what is painted, and what the server gets of it

const snapshot = () => surface && { width: surface.width, height: surface.height, runs: runsOf(surface, wholeOf(surface)), picture };

function send(keep = true) {
  const runs = surface && runsOf(surface, wholeOf(surface));
  sent = surface && { width: surface.width, height: surface.height, labels: toBase64(runs), picture: picture && picture.file };
  if (sent || props.value) { // Gradio makes "" of null: setting it again never ends
    echoes = true;
    props.value = sent;
  }
  tell(runs);
  root.dataset.changes = ++changes;
  if (store && keep) remember();
}

let rememberTimer = 0;
function remember() {
  clearTimeout(rememberTimer);
  rememberTimer = setTimeout(() => {
    const painting = sent && { ...sent, last }, blob = picture?.blob ?? null, upTo = changes;
    const kept = keepParts(store, blob === remembered ? { painting } : { painting, picture: blob });
    kept.then(() => { root.dataset.kept = upTo; }); // it may be left now
    remembered = blob;
  }, 400);
}
let remembered = null;

// Everything anew: another size or another picture.
function replace(next, nextPicture, { undoable = true, keep = true } = {}) {
  finish();
  const before = snapshot();
  if (picture && nextPicture !== picture && surface.labels.includes(1)) last = { ...before, picture: null };
  surface = next;
  picture = nextPicture;
  shadow = surface && surface.labels.slice();
  if (undoable && before) past.push({ whole: true, before, after: snapshot() ?? { width: 0, height: 0 } });
  arrange();
  send(keep);
}

function restore(part) {
  surface = part.width ? { width: part.width, height: part.height, labels: new Uint8Array(part.width * part.height) } : null;
  if (surface) putRuns(surface, wholeOf(surface), part.runs);
  shadow = surface && surface.labels.slice();
  picture = part.picture ?? null;
  arrange();
}

function arrange() {
  view.show(surface, picture);
  root.classList.toggle("filled", Boolean(surface));
  if (surface) {
    if (!sizeChosen) size = Math.max(2, Math.round(Math.min(surface.width, surface.height) / 12));
    shape();
    [parts.sides[0].value, parts.sides[1].value] = [surface.width, surface.height];
    for (const button of parts.ratios) {
      const { across, down } = button.dataset;
      button.setAttribute("aria-pressed", surface.width * down === surface.height * across);
    }
  }
  view.fitted = true;
  showSize();
  view.resize();
  view.drawAll();
}

function shape() {
  const [left, top, right, bottom] = view.margins;
  // the room around the picture is as wide on all sides
  const [w, h] = [surface.width + left + right, surface.height + top + bottom];
  board.style.aspectRatio = `${w} / ${h}`;
}

// The box has changed: it can be undone from here on, and is what the server gets.
function commit(box) {
  if (!box) return;
  const before = runsOf({ ...surface, labels: shadow }, box), after = runsOf(surface, box);
  if (sameBytes(before, after)) return;
  for (let y = box.y0; y < box.y1; y++) {
    const start = y * surface.width + box.x0;
    shadow.set(surface.labels.subarray(start, start + box.x1 - box.x0), start);
  }
  past.push({ before: { box, runs: before }, after: { box, runs: after } });
  view.draw(box);
  send();
}

function travel(way, side) {
  finish(); // a stroke in hand is the newest step
  const step = past[way]();
  if (!step) return;
  const part = step[side];
  if (step.whole) restore(part);
  else {
    for (const labels of [surface.labels, shadow]) putRuns({ ...surface, labels }, part.box, part.runs);
    view.draw(part.box);
  }
  send();
}

function relabel(change) {
  if (!surface) return;
  finish();
  change(surface.labels);
  commit(wholeOf(surface));
}

// --- what the person is told

function note(text, isWrong = false) {
  parts.note.textContent = text;
  parts.note.classList.toggle("wrong", isWrong);
}

const className = (label) => palette[label]?.[0] ?? `class ${label}`;

function tell(runs) {
  root.querySelector("[data-do=undo]").disabled = !past.canUndo;
  root.querySelector("[data-do=redo]").disabled = !past.canRedo;
  const lastButton = root.querySelector("[data-do=last]");
  if (lastButton) lastButton.disabled = !last || !surface;
  if (!surface) { parts.about.textContent = ""; return; }
  const counts = new Map();
  const numbers = new DataView(runs.buffer, runs.byteOffset, runs.length);
  for (let at = 0; at < runs.length; at += RUN_BYTES) {
    counts.set(runs[at], (counts.get(runs[at]) ?? 0) + numbers.getUint32(at + 1, true));
  }
  const share = 100 * (counts.get(1) ?? 0) / surface.labels.length;
  const marked = share > 0 && share < 0.1 ? "under 0.1" : share > 99.9 && share < 100 ? "over 99.9" : +share.toFixed(1);
  const what = kind === "mask" ? `${marked} % marked` : counts.size === 1 ? "1 class" : `${counts.size} classes`;
  described = what;
  tellSize();
}
let described = ""; // what is painted, in words
function tellSize() {
  if (!surface) return;
  const [left, top, right, bottom] = view.margins;
  const grown = view.margins.some(Boolean) ? ` → ${surface.width + left + right} × ${surface.height + top + bottom}` : "";
  const made = grown && kind === "mask" ? " and what is grown" : "";
  parts.about.textContent = `${surface.width} × ${surface.height}${grown} px · ${described}${made}`;
}

const sizeLimit = () => Math.max(4, surface ? Math.min(surface.width, surface.height) : 512);
function showSize() {
  size = Math.min(size, sizeLimit());
  parts.size.value = Math.round(100 * Math.log(size / 2) / Math.log(sizeLimit() / 2));
  parts.shown.textContent = `${size} px`;
  parts.size.setAttribute("aria-valuetext", `${size} px`);
}
function setSize(value) {
  size = Math.max(2, Math.round(value));
  sizeChosen = true;
  showSize();
}

function setTool(name) {
  finish(); // a stroke ends as it began
  tool = name;
  if (kind === "mask") ink = name === "eraser" ? 0 : 1;
  for (const button of parts.tools) button.setAttribute("aria-pressed", button.dataset.tool === tool);
}

function setInk(label) {
  ink = label;
  for (const button of parts.classes.children) button.setAttribute("aria-pressed", +button.dataset.class === ink);
}

function usePalette() {
  palette = props.palette;
  view.paint(palette);
  if (kind === "map") {
    showClasses(parts, palette, setInk);
    setInk(Math.min(ink, palette.length - 1));
  }
  view.drawAll();
}

// --- the hand

const place = (event) => {
  const box = board.getBoundingClientRect();
  return [event.clientX - box.left - board.clientLeft, event.clientY - box.top - board.clientTop];
};
const onScreen = (point) => [view.x + point[0] * view.scale, view.y + point[1] * view.scale];

function guide(event) {
  if (!surface || event.pointerType === "touch") { parts.rings.replaceChildren(); return; }
  const drags = stroke && (tool === "line" || tool === "rectangle");
  parts.rings.style.color = stroke?.label === 0 && kind === "mask" ? "#fff" : palette[ink]?.[1] ?? madeColour(ink);
  const ring = tool === "brush" || tool === "eraser" || tool === "line" ? "ring" : "";
  showGuide(parts.rings, drags ? tool : ring, place(event), drags && onScreen(stroke.from), size / 2 * view.scale);
  if (kind === "map" && !stroke) {
    const [x, y] = view.toPicture(event).map(Math.floor);
    const inside = x >= 0 && y >= 0 && x < surface.width && y < surface.height;
    board.title = inside ? className(surface.labels[y * surface.width + x]) : "";
  }
}

function begin(event) {
  const at = view.toPicture(event), second = event.button === 2;
  if (kind === "map" && second) {
    const [x, y] = at.map(Math.floor);
    if (x >= 0 && y >= 0 && x < surface.width && y < surface.height) setInk(surface.labels[y * surface.width + x]);
    return;
  }
  const label = kind === "mask" && second ? 0 : ink;
  if (tool === "fill") { commit(paintFill(surface, Math.floor(at[0]), Math.floor(at[1]), label)); return; }
  stroke = { id: event.pointerId, from: at, at, label, box: null };
  if (tool === "brush" || tool === "eraser") brush(at);
}

function brush(at) {
  const box = paintSegment(surface, stroke.at, at, size / 2, stroke.label);
  stroke.at = at;
  stroke.box = joined(stroke.box, box);
  view.draw(box);
}

// The stroke is over: from here on it is what the server gets.
function finish(event) {
  if (!stroke) return;
  const { from, label } = stroke, at = event ? view.toPicture(event) : stroke.at;
  let { box } = stroke;
  if (tool === "line") box = paintSegment(surface, from, at, size / 2, label);
  if (tool === "rectangle") box = paintRectangle(surface, from, at, label);
  stroke = null;
  view.draw(box);
  commit(box);
}

function giveUp() {
  if (!stroke) return;
  const { box } = stroke;
  stroke = null;
  if (box) putRuns(surface, box, runsOf({ ...surface, labels: shadow }, box));
  view.draw(box);
}

board.addEventListener("pointerdown", (event) => {
  if (event.target.closest(".empty button")) return;
  board.focus({ preventScroll: true });
  if (!surface) return;
  event.preventDefault();
  board.setPointerCapture(event.pointerId);
  if (event.pointerType === "touch") touches.set(event.pointerId, place(event));
  if (touches.size === 2) { giveUp(); return; } // two fingers move and zoom
  if (stroke || touches.size > 2) return;
  if (event.button === 1 || spaceHeld) panning = place(event);
  else begin(event);
  guide(event);
});

board.addEventListener("pointermove", (event) => {
  if (touches.size === 2 && touches.has(event.pointerId)) { pinch(event); return; }
  if (panning) {
    const at = place(event);
    view.pan(at[0] - panning[0], at[1] - panning[1]);
    panning = at;
    view.drawAll();
  } else if (stroke?.id === event.pointerId) {
    if (tool === "brush" || tool === "eraser") {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) brush(view.toPicture(each));
    } else stroke.at = view.toPicture(event);
  }
  guide(event);
});

function pinch(event) {
  const [other] = [...touches].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
  const before = touches.get(event.pointerId), after = place(event);
  const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
  view.pan((after[0] - before[0]) / 2, (after[1] - before[1]) / 2);
  view.zoom(length(after, other) / length(before, other), [(after[0] + other[0]) / 2, (after[1] + other[1]) / 2]);
  touches.set(event.pointerId, after);
  view.drawAll();
}

function lift(event) {
  touches.delete(event.pointerId);
  panning = null;
  if (stroke?.id !== event.pointerId) return;
  if (event.type === "pointercancel" && tool !== "brush" && tool !== "eraser") giveUp();
  else finish(event.type === "pointerup" ? event : undefined);
  guide(event);
}
for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) board.addEventListener(name, lift);
board.addEventListener("pointerleave", () => { if (!stroke) parts.rings.replaceChildren(); });
board.addEventListener("contextmenu", (event) => { if (surface) event.preventDefault(); });
board.addEventListener("auxclick", (event) => event.preventDefault());

// The page scrolls under the wheel unless the person is at work here.
board.addEventListener("wheel", (event) => {
  if (!surface || !(event.ctrlKey || document.activeElement === board)) return;
  event.preventDefault();
  view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0018)), place(event));
  view.drawAll();
  guide(event);
}, { passive: false });

// --- buttons and keys

const DO = {
  undo: () => travel("back", "before"),
  redo: () => travel("forth", "after"),
  smaller: () => { view.zoom(1 / 1.4); view.drawAll(); },
  larger: () => { view.zoom(1.4); view.drawAll(); },
  whole: () => { view.fit(); view.drawAll(); },
  clear: () => relabel((labels) => labels.fill(0)),
  all: () => relabel((labels) => labels.fill(kind === "mask" ? 1 : ink)),
  invert: () => relabel((labels) => { for (let i = 0; i < labels.length; i++) labels[i] ^= 1; }),
  last: () => {
    if (!last || !surface) return;
    const same = last.width === surface.width && last.height === surface.height;
    const mask = { width: last.width, height: last.height, labels: new Uint8Array(last.width * last.height) };
    putRuns(mask, wholeOf(mask), last.runs);
    const fitting = same ? mask : resized(mask, surface.width, surface.height);
    relabel((labels) => labels.set(fitting.labels));
    note(same ? "" : `The last mask was ${last.width} × ${last.height} px and is stretched to this picture.`);
  },
  pick: () => parts.files[0].click(),
  load: () => { if (surface) parts.files[1].click(); else note("Load a picture first; a mask is as large as it.", true); },
  save: async () => { if (surface) saveFile(await pngOf(surface, kind, palette), kind === "mask" ? "mask.png" : "map.png"); },
};

root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || !root.contains(button)) return;
  event.stopPropagation();
  if (button.dataset.tool) setTool(button.dataset.tool);
  if (button.dataset.do) {
    DO[button.dataset.do]();
    if (event.detail) board.focus({ preventScroll: true }); // by mouse: Ctrl+Z takes it back
  }
  if (button.dataset.across) {
    takeRatio(+button.dataset.across, +button.dataset.down);
    if (event.detail) board.focus({ preventScroll: true });
  }
});

const KEYS = { b: "brush", e: "eraser", l: "line", r: "rectangle", f: "fill", "-": "smaller", "+": "larger", "=": "larger", 0: "whole" };
board.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (key !== "z" && key !== "y") return;
    DO[key === "y" || event.shiftKey ? "redo" : "undo"]();
  } else if (event.key === " ") spaceHeld = true;
  else if (key === "[" || key === "]") setSize(key === "[" ? Math.min(size - 1, size / 1.2) : Math.max(size + 1, size * 1.2));
  else if (key === "escape") giveUp();
  else if (DO[KEYS[key]]) DO[KEYS[key]]();
  else if (parts.tools.some((button) => button.dataset.tool === KEYS[key])) setTool(KEYS[key]);
  else return;
  event.preventDefault();
});
board.addEventListener("keyup", (event) => { if (event.key === " ") spaceHeld = false; });
board.addEventListener("blur", () => { spaceHeld = false; });
// whoever presses Generate by a key or a second finger in the middle of a stroke means what is seen
window.addEventListener("keydown", (event) => { if (event.key === "Enter") finish(); }, true);
window.addEventListener("pointerdown", (event) => { if (!board.contains(event.target)) finish(); }, true);
parts.size.addEventListener("input", () => setSize(2 * (sizeLimit() / 2) ** (parts.size.value / 100)));

// --- a map's size: the painting fits into it, so nothing is lost

let sized = null; // what the last change of size made, and of what

function takeSize(width, height) {
  if (!surface || (width === surface.width && height === surface.height)) return;
  finish();
  note("");
  // each size is made of what was painted, not of what the size before left of it
  const isSized = sized && sized.width === surface.width && sameBytes(sized.labels, surface.labels);
  const from = isSized ? sized.from : surface, next = extended(from, width, height);
  sized = { from, width, labels: next.labels.slice() };
  replace(next, null);
}
function takeRatio(across, down) {
  const unit = Math.min(across, down), base = Math.min(...props.size);
  const fitting = (share) => Math.max(props.multiple, Math.round(base * share / unit / props.multiple) * props.multiple);
  takeSize(fitting(across), fitting(down));
}
for (const box of parts.sides) {
  box.addEventListener("change", () => {
    const [width, height] = parts.sides.map((side) => Math.round(+side.value));
    const wrong = [width, height].some((side) => !(side >= 16 && side <= 4096));
    note(wrong ? `A map's sides must be 16 to 4096 px, got ${parts.sides.map((side) => side.value || "nothing").join(" × ")}.` : "", wrong);
    if (!wrong) takeSize(width, height);
  });
}

// --- files

async function take(file, asLabels) {
  if (!file) return;
  const mine = ++turn, target = surface;
  finish();
  note(`Reading ${file.name} …`);
  try {
    const answer = !asLabels ? await ask("picture_of_file", file) : kind === "map"
      ? await ask("map_of_file", file, { colours: palette.map(([, colour]) => colour) })
      : await ask("mask_of_file", file, { width: surface.width, height: surface.height });
    if (mine !== turn) return;
    if (answer.error) { note(answer.error, true); return; }
    if (!asLabels) {
      const isAnother = picture !== null;
      await takePicture(answer, mine);
      if (isAnother && mine === turn) trigger("upload"); // in the place of one
    } else if (kind === "map") replace(surfaceOf(answer), null);
    else if (surface !== target) throw new Error("the picture has changed meanwhile");
    else relabel((labels) => labels.set(surfaceOf(answer).labels));
    if (mine === turn) note(answer.note ?? "");
  } catch (error) {
    if (mine === turn) note(`${file.name} could not be read: ${error.message ?? error}.`, true);
  }
}

async function takePicture({ file, labels, ...size }, mine) {
  const next = await fetchPicture(file), { width, height } = next.bitmap;
  const marked = labels ? surfaceOf({ labels, ...size }).labels : new Uint8Array(width * height);
  if (mine === turn) replace({ width, height, labels: marked }, next);
}

parts.files.forEach((input, i) => input.addEventListener("change", () => {
  take(input.files[0], i === 1);
  input.value = "";
}));
board.addEventListener("dragover", (event) => { event.preventDefault(); board.classList.add("over"); });
board.addEventListener("dragleave", () => board.classList.remove("over"));
board.addEventListener("drop", (event) => {
  event.preventDefault();
  event.stopPropagation();
  board.classList.remove("over");
  drop(carried(event.dataTransfer));
});
// A picture of this tab, made here, is restored with all it was made of; no picture is a map.
async function drop(file) {
  const tasks = kind === "map" ? [] : ["inpaint"];
  if (!file || await latentCanvas.restoreIfMade(file, ...tasks)) return;
  take(file, kind === "map");
}
document.addEventListener("paste", (event) => {
  const file = carried(event.clipboardData);
  if (!file || !root.offsetParent || event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  take(file, kind === "map");
});

// --- values from Python, and what this window remembers

async function accept(value, options) {
  const mine = arriving = ++turn;
  note("");
  if (!value) {
    replace(kind === "map" ? blank() : null, null, options);
    return;
  }
  let next = null;
  if (value.picture) next = value.picture.path === picture?.file.path ? picture : await fetchPicture(value.picture);
  if (mine === turn) replace(surfaceOf(value), next, options);
}

function blank() {
  const [width, height] = props.size;
  return { width, height, labels: new Uint8Array(width * height) };
}

async function recall() {
  const mine = ++turn, [kept, blob] = await keptParts(store);
  if (!kept) return false;
  let { picture: file } = kept, next = null;
  if (file) {
    try {
      next = await fetchPicture(file);
    } catch { // the server has been started anew
      if (!blob) throw new Error("its picture is gone");
      const answer = await ask("picture_of_file", new File([blob], "picture.png", { type: "image/png" }));
      if (answer.error) throw new Error(answer.error);
      file = answer.file;
      next = await fetchPicture(file);
    }
  }
  if (mine !== turn) return true;
  last = kept.last ?? null;
  replace(surfaceOf(kept), next, { undoable: false });
  return true;
}

// The map that nobody has painted, which is not remembered either.
let untouchedSurface = null;
function showFirst() {
  accept(props.first, { undoable: false, keep: false }); // it has no picture to wait for
  untouchedSurface = surface;
}

async function start() {
  root.painter.adjust(...window.latentCanvas.adjusted[store] ?? [0, 0, 0, 0, ...props.edge]);
  setTool("brush");
  usePalette();
  new ResizeObserver(() => { view.resize(); view.drawAll(); }).observe(board);
  window.addEventListener("resize", () => { view.resize(); view.drawAll(); });
  let found = false, lost = null;
  const given = props.value; // from another tab, before this one was ever open: what was here can be had back
  if (store) found = await recall().catch((error) => { lost = error; return false; });
  // what cannot be shown now may be another time: it is kept until something else is painted
  if (given) await accept(given, { undoable: found });
  else if (!found && turn <= 1) showFirst();
  if (lost) note(`What was here before could not be shown: ${lost.message ?? lost}.`, true);
  root.dataset.ready = "yes";
}

watch("value", () => {
  const { value } = props, isEcho = echoes;
  echoes = false;
  if (!value && !sent) return;
  if (sent && value && ["width", "height", "labels"].every((name) => value[name] === sent[name])
    && value.picture?.path === sent.picture?.path) {
    if (!isEcho && arriving === turn) turn += 1; // what is on its way has been taken back
    return;
  }
  accept(value).catch((error) => note(`The picture could not be shown: ${error.message ?? error}.`, true));
});
watch(["palette", "first"], () => {
  const untouched = surface && surface === untouchedSurface && !past.canUndo && !past.canRedo;
  if (kind === "map" && untouched) showFirst();
  usePalette();
});

root.painter = {
  get value() { return sent; },
  get view() { return { x: view.x, y: view.y, scale: view.scale }; },
  get effect() { return view.effect(); },
  // Px that the canvas grows by on the left, above, on the right and below; and of the mask's edge;
  // and which edges of the canvas meet.
  adjust(left, top, right, bottom, grow, feather, seamless = "no") {
    const whole = (value, low, high) => Math.max(low, Math.min(high, Math.round(+value) || 0));
    const margins = [left, top, right, bottom].map((side) => whole(side, 0, 1024));
    const isSame = margins.every((side, i) => side === view.margins[i]);
    view.margins = margins;
    view.soften({ grow: whole(grow, -64, 64), feather: whole(feather, 0, 64), seamless });
    if (!surface || isSame) return;
    tellSize();
    shape();
    view.fitted = true;
    view.resize();
    view.drawAll();
  },
};
start();
