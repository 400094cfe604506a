// The body of a function that is called once with (element, props, trigger, watch, ...), see scripts.py.
// One rule: every edit ends in commit(), which hands the whole state over at once, so a click on
// Generate can never send an older one. Labels are foreign text: textContent only, never innerHTML.
const SVG = "http://www.w3.org/2000/svg";
const EDGES = ["left", "top", "right", "bottom"];
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const SMALLEST = 0.01; // side of a box, as a fraction of the canvas
const STEP = 0.01; // of an arrow key
const FEW = 24; // classes that are all shown as chips; more are searched
const DRAG_PX = 4; // less is a click
const JOIN_MS = 900; // keys and digits within it are one step to undo
const MAX_UNDO = 200;
const $ = (part) => element.querySelector(`[data-part="${part}"]`);
const svg = $("canvas"), palette = $("palette"), search = $("search"), list = $("list");
const uid = `boxes-${Math.random().toString(36).slice(2, 9)}`;

let size = { width: 1, height: 1 }, picture = null, boxes = [], counter = 0;
let selected = null; // id of a box
let isFresh = false; // it was only just drawn: a class that is chosen now is for the next one
let label = "", isHidden = false, drag = null;
let past = [], future = [], lastStep = { kind: "", time: 0 };
const shapes = new Map(), rows = new Map(); // id -> its nodes on the canvas and in the list

const classes = () => (Array.isArray(props.classes) ? props.classes : []);
const limit = () => props.limit || 0;
const names = () => classes().map(([name]) => name);
const numbered = () => Number.isInteger(props.numbers) && props.numbers > 0; // labels are numbers
const isKnown = (name) => numbered() ? /^\d{1,6}$/.test(name) && +name < props.numbers : names().includes(name);
const colourOf = (name) => classes().find(([known]) => known === name)?.[1] ?? hued(name);
const find = (id) => boxes.find((box) => box.id === id);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rounded = (value) => Math.round(value * 10000) / 10000;
const percent = (value) => String(Math.round(value * 1000) / 10);

function hued(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 3600;
  return `hsl(${(hash * 137.5) % 360} 55% 45%)`;
}
function isLight(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.3 * red + 0.59 * green + 0.11 * blue > 150; // never of hsl(...), which is dark enough
}
function make(tag, attributes = {}, text = "") {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}
function say(text, isWarning = false) {
  const said = $("said");
  said.textContent = text;
  said.toggleAttribute("data-warn", isWarning);
}

// ---- the state ------------------------------------------------------------------------------
const bare = (all) => all.map(({ label, left, top, right, bottom }) => ({ label, left, top, right, bottom }));
const number = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);

function read(value) {
  if (typeof value === "string") { try { value = JSON.parse(value); } catch { value = null; } }
  value = value && typeof value === "object" ? value : {};
  size = { width: Math.max(1, number(value.width, size.width)), height: Math.max(1, number(value.height, size.height)) };
  if ("picture" in value) picture = ownAddress(value.picture);
  const given = (Array.isArray(value.boxes) ? value.boxes : []).filter((box) => box && typeof box === "object")
    .map((box) => ({ label: String(box.label ?? ""), ...Object.fromEntries(EDGES.map((edge) => [edge, clamp(number(box[edge], 0), 0, 1)])) }));
  const ours = drag ? JSON.parse(drag.before) : boxes; // what was handed over last
  if (JSON.stringify(given) === JSON.stringify(bare(ours))) return; // it has only come back
  if (!("picture" in value)) picture = null; // it shows other boxes
  boxes = ours;
  drag = null;
  remember("from outside");
  boxes = given.map((box) => ({ id: ++counter, ...box }));
  selected = null;
}
// Only a picture of this page or in the value itself: nothing is fetched from elsewhere.
function ownAddress(address) {
  if (typeof address !== "string" || !address) return null;
  if (address.startsWith("data:image/") || address.startsWith("blob:")) return address;
  try { return new URL(address, location.href).origin === location.origin ? address : null; } catch { return null; }
}
function remember(kind) {
  const now = Date.now(), joins = kind === lastStep.kind && now - lastStep.time < JOIN_MS;
  lastStep = { kind, time: now };
  if (joins) return;
  past = [...past, JSON.stringify(boxes)].slice(-MAX_UNDO);
  future = [];
}
function commit() {
  props.value = { ...size, boxes: bare(boxes), picture };
  draw();
  trigger("input");
}
// One step that can be undone; steps of one kind that follow quickly are one.
function step(kind, change) { say(""); remember(kind); change(); commit(); }

function travel(from, to) {
  if (!from.length) return;
  to.push(JSON.stringify(boxes));
  boxes = JSON.parse(from.pop());
  lastStep = { kind: "", time: 0 };
  if (!find(selected)) selected = null;
  say("");
  commit();
}
const undo = () => travel(past, future), redo = () => travel(future, past);

// ---- what a person can do -------------------------------------------------------------------
function isFull() {
  if (!limit() || boxes.length < limit()) return false;
  say(`This model takes up to ${limit()} boxes, and that many are drawn. Delete one to draw another.`, true);
  return true;
}
function noClass() {
  if (label && isKnown(label)) return false;
  say(numbered() ? `Type the number of a class first, 0 to ${props.numbers - 1}.` : "Choose a class first.", true);
  return true;
}
function place(box, fresh) {
  const id = ++counter;
  step(`add ${id}`, () => { boxes.push({ ...box, id }); selected = id; isFresh = fresh; });
  say(`${box.label} added.`);
  return id;
}
function addInTheMiddle() {
  if (isFull() || noClass()) return;
  const shift = (boxes.length % 6) * 0.04; // so that several do not cover each other
  focusBox(place({ label, left: rounded(0.3 + shift), top: rounded(0.3 + shift), right: rounded(0.6 + shift), bottom: rounded(0.6 + shift) }, true));
}
function duplicate(id = selected) {
  const box = find(id);
  if (!box) { say("Select a box to duplicate it.", true); return; }
  if (isFull()) return;
  const copy = moved(box, box.right < 0.97 ? 0.03 : -0.03, box.bottom < 0.97 ? 0.03 : -0.03);
  focusBox(place(copy, false));
}
function remove(id = selected) {
  const index = boxes.findIndex((box) => box.id === id);
  if (index < 0) { say("Select a box to delete it.", true); return; }
  const [gone] = boxes.slice(index);
  const hadFocus = svg.contains(document.activeElement), wasInList = list.contains(document.activeElement);
  step(`delete ${id}`, () => { boxes.splice(index, 1); selected = null; });
  say(`${gone.label} deleted. Undo brings it back.`);
  const next = boxes[Math.min(index, boxes.length - 1)];
  if (wasInList && next) rows.get(next.id).gone.focus();
  else if (hadFocus || wasInList) next ? focusBox(next.id) : svg.focus({ preventScroll: true });
}
function relabel(id, name) {
  if (find(id)?.label === name) return;
  step(`label ${id}`, () => { find(id).label = name; });
  say(`Box ${boxes.indexOf(find(id)) + 1} is ${name} now.`);
}
function choose(name) {
  label = name;
  if (find(selected) && !isFresh) relabel(selected, name);
  else { selected = null; draw(); }
}
function select(id, fresh = false) {
  if (selected === id && isFresh === fresh) return;
  selected = id;
  isFresh = fresh;
  draw();
}
function focusBox(id) { shapes.get(id)?.group.focus({ preventScroll: true }); }

function moved(box, dx, dy) {
  dx = clamp(dx, -box.left, 1 - box.right);
  dy = clamp(dy, -box.top, 1 - box.bottom);
  return { ...box, left: rounded(box.left + dx), right: rounded(box.right + dx), top: rounded(box.top + dy), bottom: rounded(box.bottom + dy) };
}
function resized(box, handle, x, y) {
  const out = { ...box };
  if (handle.includes("w")) out.left = rounded(clamp(x, 0, box.right - SMALLEST));
  if (handle.includes("e")) out.right = rounded(clamp(x, box.left + SMALLEST, 1));
  if (handle.includes("n")) out.top = rounded(clamp(y, 0, box.bottom - SMALLEST));
  if (handle.includes("s")) out.bottom = rounded(clamp(y, box.top + SMALLEST, 1));
  return out;
}

// ---- mouse, pen and finger ------------------------------------------------------------------
function point(event) {
  const area = svg.getBoundingClientRect();
  return [clamp((event.clientX - area.left) / area.width, 0, 1), clamp((event.clientY - area.top) / area.height, 0, 1)];
}
// Of boxes over each other the selected one, else the smallest: none is out of reach.
function boxAt(x, y) {
  const hit = boxes.filter((box) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom);
  const area = (box) => (box.right - box.left) * (box.bottom - box.top);
  return hit.find((box) => box.id === selected) ?? hit.sort((a, b) => area(a) - area(b))[0];
}
function isSmall(box) {
  return (box.right - box.left) * svg.clientWidth < DRAG_PX || (box.bottom - box.top) * svg.clientHeight < DRAG_PX;
}
svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag || isHidden) return;
  event.preventDefault(); // no text is selected, no picture dragged
  svg.setPointerCapture(event.pointerId);
  const [x, y] = point(event), handle = event.target.getAttribute("data-handle");
  const hit = handle ? find(selected) : event.shiftKey ? undefined : boxAt(x, y);
  const start = { pointer: event.pointerId, x, y, atX: event.clientX, atY: event.clientY, before: JSON.stringify(boxes) };
  if (hit) {
    isFresh = false;
    select(hit.id);
    focusBox(hit.id);
    drag = { ...start, kind: handle ? "resize" : "move", handle, id: hit.id, box: { ...hit } };
  } else {
    svg.focus({ preventScroll: true });
    select(null);
    drag = { ...start, kind: "draw", id: null };
  }
});
svg.addEventListener("pointermove", (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  if (!drag.moving && Math.hypot(event.clientX - drag.atX, event.clientY - drag.atY) < DRAG_PX) return;
  if (!drag.moving && drag.kind === "draw") {
    if (isFull() || noClass()) { drag = null; return; }
    drag.id = ++counter;
    boxes.push({ id: drag.id, label });
    selected = drag.id;
    isFresh = true;
  }
  drag.moving = true;
  const [x, y] = point(event), index = boxes.findIndex((box) => box.id === drag.id);
  if (drag.kind === "draw") {
    const sides = { left: Math.min(x, drag.x), right: Math.max(x, drag.x), top: Math.min(y, drag.y), bottom: Math.max(y, drag.y) };
    for (const edge of EDGES) boxes[index][edge] = rounded(sides[edge]);
  } else if (drag.kind === "move") boxes[index] = moved(drag.box, x - drag.x, y - drag.y);
  else {
    // by as much as the hand moved, so that the edge does not jump to the pointer
    const edge = (side, low, high) => drag.box[drag.handle.includes(low) ? side[0] : drag.handle.includes(high) ? side[1] : side[0]];
    boxes[index] = resized(drag.box, drag.handle, edge(["left", "right"], "w", "e") + x - drag.x, edge(["top", "bottom"], "n", "s") + y - drag.y);
  }
  draw();
});
function letGo(event) {
  if (!drag || event.pointerId !== drag.pointer) return;
  const done = drag;
  drag = null;
  if (!done.moving) return;
  const box = find(done.id), after = boxes;
  const tooSmall = done.kind === "draw" && (isSmall(box) || box.right - box.left < SMALLEST || box.bottom - box.top < SMALLEST);
  boxes = JSON.parse(done.before);
  if (event.type === "pointercancel" || tooSmall) {
    selected = done.kind === "draw" ? null : done.id;
    draw();
    return;
  }
  step(`${done.kind} ${done.id} ${counter}`, () => { boxes = after; });
  lastStep = { kind: "", time: 0 };
  if (done.kind === "draw") say(`${box.label} drawn.${matchMedia("(pointer: fine)").matches ? " Drag with Shift to draw another over it." : ""}`);
}
// As if the pointer were lifted here, or as if it had never been there.
function endDrag(type) { if (drag) letGo({ pointerId: drag.pointer, type }); }
svg.addEventListener("pointerup", letGo);
svg.addEventListener("pointercancel", letGo);

// ---- keyboard -------------------------------------------------------------------------------
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
svg.addEventListener("focusin", (event) => {
  const id = Number(event.target.getAttribute?.("data-id"));
  if (id && id !== selected) select(id);
});
svg.addEventListener("keydown", (event) => {
  if (drag) { // the hand has the box
    if (event.key === "Escape") endDrag("pointercancel");
    return;
  }
  const box = find(selected);
  if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
  const [dx, dy] = (ARROWS[event.key] ?? [0, 0]).map((way) => way * STEP);
  const index = boxes.indexOf(box);
  if (dx || dy) {
    const next = event.shiftKey ? resized(box, "se", box.right + dx, box.bottom + dy) : moved(box, dx, dy);
    step(`${event.shiftKey ? "resize" : "move"} ${box.id}`, () => { boxes[index] = next; });
  } else if (event.key === "Delete" || event.key === "Backspace") remove();
  else if (event.key === "Enter") { isFresh = false; rows.get(box.id).label.focus(); }
  else if (event.key === "Escape") { select(null); svg.focus({ preventScroll: true }); }
  else return;
  event.preventDefault();
});
element.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "z" || key === "y") act(key === "y" || event.shiftKey ? redo : undo);
  else if (key === "d" && find(selected)) act(DEEDS.duplicate);
  else return;
  event.preventDefault();
});

// ---- drawing --------------------------------------------------------------------------------
function draw() { drawCanvas(); drawPalette(); drawList(); drawBar(); }

function drawCanvas() {
  const frame = $("frame");
  frame.style.setProperty("--ratio", clamp(size.width / size.height, 0.125, 8));
  const image = $("picture");
  if (image.getAttribute("src") !== picture) picture ? image.setAttribute("src", picture) : image.removeAttribute("src");
  frame.toggleAttribute("data-picture", Boolean(picture));
  frame.toggleAttribute("data-hidden", isHidden);
  frame.toggleAttribute("data-other", !hasShape($("picture")));
  $("empty").hidden = boxes.length > 0 || Boolean(picture);
  const W = svg.clientWidth, H = svg.clientHeight;
  if (!W || !H) return; // in a tab that is not open: drawn when it has a size
  for (const [id, shape] of shapes) if (!find(id)) { shapes.delete(id); shape.group.remove(); }
  for (const box of boxes) drawBox(box, W, H);
  drawHandles(find(selected), W, H);
}
// A preview of several pictures is wider than the canvas, and a picture that is done has another shape
// once a person chose another: style.css says which of the two gives way, the picture or the boxes.
function hasShape(image) {
  if (!image.naturalWidth) return true;
  return Math.abs(Math.log((image.naturalWidth * size.height) / (image.naturalHeight * size.width))) < 0.03;
}
function shapeOf(box) {
  if (!shapes.has(box.id)) {
    const group = make("svg:g", { tabindex: 0, role: "img", "data-id": box.id, "aria-roledescription": "box" });
    const shape = { group, area: make("svg:rect", { class: "area", rx: 3 }), text: make("svg:text") };
    group.append(shape.area, shape.text);
    svg.insertBefore(group, $("handles"));
    shapes.set(box.id, shape);
  }
  return shapes.get(box.id);
}
function drawBox(box, W, H) {
  const { group, area, text } = shapeOf(box), colour = colourOf(box.label);
  const [x, y, w, h] = [box.left * W, box.top * H, (box.right - box.left) * W, (box.bottom - box.top) * H];
  const where = EDGES.map((edge) => `${edge} ${percent(box[edge])} %`).join(", ");
  group.setAttribute("aria-label", `${box.label}: ${where}`);
  group.toggleAttribute("data-selected", box.id === selected);
  group.toggleAttribute("data-unknown", !isKnown(box.label));
  for (const [name, value] of Object.entries({ x, y, width: w, height: h })) area.setAttribute(name, value);
  area.style.stroke = area.style.fill = colour;
  text.textContent = box.label;
  const isRight = box.left > 0.8; // it would leave the canvas
  text.setAttribute("text-anchor", isRight ? "end" : "start");
  text.setAttribute("x", isRight ? clamp(x + w - 6, 0, W - 4) : x + 6);
  text.setAttribute("y", h > 26 ? y + 17 : y > 20 ? y - 6 : Math.min(y + h + 16, H - 5));
}
function drawHandles(box, W, H) {
  const layer = $("handles");
  layer.replaceChildren();
  if (!box || isHidden) return;
  const w = (box.right - box.left) * W, h = (box.bottom - box.top) * H;
  const reach = clamp(Math.min(w, h) / 3, 6, matchMedia("(pointer: coarse)").matches ? 17 : 11);
  for (const handle of HANDLES) {
    if ((handle.length === 1) && ("ns".includes(handle) ? w : h) < 44) continue; // no room beside the corners
    const cx = (box.left + (handle.includes("e") ? 1 : handle.includes("w") ? 0 : 0.5) * (box.right - box.left)) * W;
    const cy = (box.top + (handle.includes("s") ? 1 : handle.includes("n") ? 0 : 0.5) * (box.bottom - box.top)) * H;
    const mark = make("svg:circle", { cx, cy, r: 5, class: "mark" });
    mark.style.stroke = colourOf(box.label);
    layer.append(mark, make("svg:circle", { cx, cy, r: reach, class: "grip", "data-handle": handle }));
  }
}
function drawPalette() {
  const box = find(selected), relabels = Boolean(box) && !isFresh;
  const current = relabels ? box.label : label;
  $("whose").textContent = relabels ? `Class of box ${boxes.indexOf(box) + 1}` : "Class of the next box";
  const all = numbered() ? [...new Set([label, ...boxes.map((b) => b.label)].filter(isKnown))].map((name) => [name, colourOf(name)]) : classes();
  search.parentElement.hidden = !numbered() && all.length <= FEW;
  const wanted = search.value.trim().toLowerCase();
  const shown = numbered() ? all : all.filter(([name]) => !wanted || name.toLowerCase().includes(wanted));
  const key = JSON.stringify(shown);
  if (palette.dataset.key !== key) {
    palette.dataset.key = key;
    palette.replaceChildren(...shown.map(([name, colour]) => {
      const chip = make("button", { type: "button", class: "chip", "data-name": name });
      const dot = make("span", { class: "dot" });
      dot.style.background = colour;
      chip.append(dot, make("span", {}, name));
      return chip;
    }));
  }
  for (const chip of palette.children) chip.setAttribute("aria-pressed", chip.dataset.name === current);
  $("none").hidden = shown.length > 0 || numbered();
}
function rowOf(box) {
  if (rows.has(box.id)) return rows.get(box.id);
  const item = make("li", { "data-id": box.id });
  const swatch = make("button", { type: "button", class: "swatch" });
  const isLong = numbered() || classes().length > FEW;
  const name = isLong ? make("input", { type: "text", list: `${uid}-names`, maxlength: 80, autocomplete: "off" }) : make("select");
  const inputs = EDGES.map((edge) => make("input", { type: "number", min: 0, max: 100, step: 1, inputmode: "decimal", "data-edge": edge }));
  const fields = EDGES.map((edge, i) => {
    const field = make("label", { class: "edge" });
    field.append(make("span", {}, edge), inputs[i]);
    return field;
  });
  const gone = make("button", { type: "button", class: "gone", "data-do": "remove" }, "×");
  item.append(swatch, name, ...fields, gone);
  rows.set(box.id, { item, swatch, label: name, inputs, gone });
  return rows.get(box.id);
}
function drawList() {
  for (const [id, row] of rows) if (!find(id)) { rows.delete(id); row.item.remove(); }
  boxes.forEach((box, index) => {
    const row = rowOf(box), title = `box ${index + 1}, ${box.label}`;
    if (list.children[index] !== row.item) list.insertBefore(row.item, list.children[index] ?? null);
    row.item.toggleAttribute("data-selected", box.id === selected);
    row.swatch.textContent = index + 1;
    row.swatch.style.background = colourOf(box.label);
    row.swatch.toggleAttribute("data-light", isLight(colourOf(box.label)));
    row.swatch.setAttribute("aria-label", `Select ${title}`);
    row.gone.setAttribute("aria-label", `Delete ${title}`);
    row.label.setAttribute("aria-label", `Class of box ${index + 1}`);
    row.label.setAttribute("aria-invalid", !isKnown(box.label));
    if (row.label.tagName === "SELECT") fillSelect(row.label, box.label);
    else if (document.activeElement !== row.label) row.label.value = box.label;
    row.inputs.forEach((input, i) => {
      input.setAttribute("aria-label", `${EDGES[i]} edge of box ${index + 1} in %`);
      if (document.activeElement === input && input.dataset.typing) return;
      input.removeAttribute("aria-invalid");
      input.value = percent(box[EDGES[i]]);
    });
  });
}
function fillSelect(select, current) {
  const wanted = isKnown(current) ? names() : [current, ...names()];
  const key = JSON.stringify(wanted);
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(...wanted.map((name) => make("option", { value: name }, isKnown(name) ? name : `${name} (unknown)`)));
  }
  select.value = current;
}
function drawBar() {
  const count = $("count");
  count.textContent = limit() ? `${boxes.length} of ${limit()} boxes` : `${boxes.length} boxes`;
  count.toggleAttribute("data-warn", Boolean(limit()) && boxes.length > limit());
  const off = { undo: !past.length, redo: !future.length, remove: !find(selected), duplicate: !find(selected), clear: !boxes.length };
  for (const [name, isOff] of Object.entries(off)) element.querySelector(`.bar [data-do="${name}"]`).disabled = isOff;
  const toggle = element.querySelector('[data-do="hide"]');
  toggle.hidden = !picture;
  toggle.setAttribute("aria-pressed", !isHidden);
  const save = $("save");
  save.hidden = !picture;
  if (picture) save.setAttribute("href", picture);
}

// ---- palette, buttons and list --------------------------------------------------------------
palette.addEventListener("click", (event) => {
  const chip = event.target.closest(".chip");
  if (chip) choose(chip.dataset.name);
});
// whoever gave the chosen box a class has the keys on that chip
palette.addEventListener("keydown", (event) => {
  if (!["Delete", "Backspace"].includes(event.key) || !find(selected)) return;
  act(DEEDS.remove);
  event.preventDefault();
});
search.addEventListener("input", () => {
  const name = search.value.trim();
  if (numbered() && isKnown(name)) choose(name);
  else drawPalette();
});
search.addEventListener("keydown", (event) => {
  const first = palette.children[0];
  if (event.key !== "Enter" || !first) return;
  event.preventDefault();
  choose(numbered() ? label : first.dataset.name);
});
const DEEDS = {
  add: addInTheMiddle, undo, redo,
  duplicate: () => duplicate(),
  remove: () => remove(),
  clear() { step("clear", () => { boxes = []; selected = null; }); say("All boxes deleted. Undo brings them back."); },
  hide() { isHidden = !isHidden; draw(); },
};
// By a key or a second finger it may come while the hand draws a box: that box is a step before it.
function act(deed) { endDrag("pointerup"); deed(); }
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button || !element.contains(button)) return;
  const row = button.closest("li");
  act(row ? () => remove(Number(row.dataset.id)) : DEEDS[button.dataset.do]);
});
const rowId = (event) => Number(event.target.closest("li")?.dataset.id);
list.addEventListener("focusin", (event) => { if (rowId(event)) select(rowId(event)); });
list.addEventListener("click", (event) => { if (event.target.closest(".swatch")) focusBox(rowId(event)); });
list.addEventListener("keydown", (event) => { if (event.key === "Escape") focusBox(rowId(event)); });
list.addEventListener("input", (event) => {
  const id = rowId(event), box = find(id), edge = event.target.dataset.edge;
  if (!box) return;
  if (edge) return typeEdge(event.target, box, edge);
  if (isKnown(event.target.value.trim())) relabel(id, event.target.value.trim());
});
list.addEventListener("focusout", (event) => {
  if (event.target.dataset.edge) {
    delete event.target.dataset.typing;
    if (event.target.getAttribute("aria-invalid") === "true") endWarning();
  }
  queueMicrotask(drawList); // what could not be taken makes room for what holds; not while a row goes
});
// The number is what it was, and nothing is wrong any more: it was said long enough when work goes on.
function endWarning() {
  const warning = $("said").textContent;
  const end = () => { if ($("said").textContent === warning) say(""); };
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, end, { once: true });
}
function typeEdge(input, box, edge) {
  const value = Number(input.value) / 100;
  const isLow = edge === "left" || edge === "top";
  const other = { left: "right", right: "left", top: "bottom", bottom: "top" }[edge];
  const fits = input.value.trim() !== "" && value >= 0 && value <= 1 && (isLow ? value <= box[other] - SMALLEST + 1e-9 : value >= box[other] + SMALLEST - 1e-9);
  input.dataset.typing = "yes";
  input.setAttribute("aria-invalid", !fits);
  if (!fits) {
    const range = isLow ? `0 to ${percent(box[other] - SMALLEST)}` : `${percent(box[other] + SMALLEST)} to 100`;
    say(`The ${edge} edge must be ${range} %; it stays at ${percent(box[edge])} %.`, true);
    return;
  }
  say("");
  step(`${edge} ${box.id}`, () => { box[edge] = rounded(value); });
}

// ---- what comes from outside ----------------------------------------------------------------
function setClasses() {
  if (!isKnown(label)) label = names()[0] ?? "";
  const options = make("datalist", { id: `${uid}-names` });
  options.append(...names().map((name) => make("option", { value: name })));
  $("names").replaceChildren(options);
  search.placeholder = numbered() ? `number of a class, 0 to ${props.numbers - 1}` : `search ${classes().length} classes`;
  const old = [...rows.values()];
  rows.clear();
  old.forEach((row) => row.item.remove());
  const unknown = new Set(boxes.filter((box) => !isKnown(box.label)).map((box) => box.label));
  if (unknown.size) say(`This model does not know ${[...unknown].join(", ")}: choose other classes for these boxes.`, true);
}
watch("value", () => { read(props.value); draw(); });
watch(["classes", "numbers", "limit"], () => { setClasses(); draw(); });
$("picture").addEventListener("load", drawCanvas);
new ResizeObserver(drawCanvas).observe(svg);

// What changes only the shape or the picture under the boxes comes this way and not as a value:
// Gradio's own copy of the value can be an older one.
$("frame").boxes = {
  reshape(width, height) { change({ width: number(width, size.width), height: number(height, size.height) }); },
  show(address) { change({ picture: ownAddress(address) }); },
};
function change(about) {
  read(props.value); // it may be newer than what is drawn
  const before = JSON.stringify([size, picture]);
  if ("picture" in about) picture = about.picture;
  else {
    size = { width: Math.max(1, about.width), height: Math.max(1, about.height) };
    if (!hasShape($("picture"))) isHidden = false; // with neither picture nor boxes nothing would be seen
  }
  if (JSON.stringify([size, picture]) !== before) commit();
}

read(props.value);
past = [];
setClasses();
const early = window.latentCanvas.shaped[element.closest("[id]")?.id];
if (early) change({ width: early[0], height: early[1] });
draw();
