// The buttons around the canvas.
const ICONS = {
  brush: "M4 20c3 0 5-1 5-4l9-11a2 2 0 0 1 3 3L11 18c-1 2-4 3-7 2z",
  eraser: "M9 20h11M4 15l9-10 7 6-8 9H8z",
  line: "M5 19 19 5",
  rectangle: "M4 6h16v12H4z",
  fill: "M5 12 12 5l7 7-7 7zM12 5V2M20 16c1 2 2 3 2 4a2 2 0 0 1-4 0c0-1 1-2 2-4z",
  undo: "M8 5 4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "m16 5 4 4-4 4M20 9H10a6 6 0 0 0 0 12h3",
  smaller: "M5 12h14",
  larger: "M5 12h14M12 5v14",
  whole: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};
const TOOLS = {
  mask: [
    ["brush", "Brush (B): what to make anew; the right button erases"], ["eraser", "Eraser (E)"],
    ["line", "Line (L)"], ["rectangle", "Rectangle (R)"], ["fill", "Fill (F): what is enclosed"],
  ],
  map: [
    ["brush", "Brush (B); the right button picks the class below it"],
    ["line", "Line (L)"], ["rectangle", "Rectangle (R)"], ["fill", "Fill (F): the region of one class"],
  ],
};
const ACTIONS = {
  mask: [
    ["pick", "New picture"], ["clear", "Clear"], ["all", "Mark all"], ["invert", "Invert"],
    ["last", "Last mask"], ["load", "Upload mask"], ["save", "Download mask"],
  ],
  map: [["all", "Fill all"], ["load", "Upload map"], ["save", "Download map"]],
};
const RATIOS = [[1, 1], [3, 2], [2, 1], [4, 1], [2, 3]];
const MANY = 20; // from this many classes on, they can be searched

function make(tag, about = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (value !== null) made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const iconButton = (name, title) =>
  make("button", { type: "button", class: "icon", "data-do": name, title, "aria-label": title.split(/ \(|;/)[0] }, icon(name));

function makeBar(root, kind) {
  const group = (...inside) => make("div", { class: "group" }, ...inside);
  const tools = TOOLS[kind].map(([name, title]) => {
    const button = iconButton(name, title);
    button.dataset.tool = name;
    delete button.dataset.do;
    return button;
  });
  const size = make("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": "Brush size" });
  const shown = make("output", { class: "size" });
  const bar = make("div", { class: "bar", role: "toolbar", "aria-label": "Painting tools" },
    group(...tools), make("label", { class: "group sizes", title: "Brush size ([ and ])" }, size, shown),
    group(iconButton("undo", "Undo (Ctrl+Z)"), iconButton("redo", "Redo (Ctrl+Shift+Z)")),
    group(iconButton("smaller", "Zoom out (-)"), iconButton("whole", "See all of it (0)"), iconButton("larger", "Zoom in (+)")));
  const actions = make("div", { class: "actions" }, ...ACTIONS[kind].map(([name, title]) =>
    make("button", { type: "button", "data-do": name }, title)));
  const search = make("input", { type: "search", placeholder: "Find a class", "aria-label": "Find a class", hidden: "" });
  const classes = make("div", { class: "classes", role: "group", "aria-label": "Classes" });
  const sides = ["Width", "Height"].map((name) =>
    make("input", { type: "number", min: 16, max: 4096, step: 16, "aria-label": `${name} of the map in px` }));
  const ratios = RATIOS.map(([across, down]) =>
    make("button", { type: "button", "data-across": across, "data-down": down }, `${across}:${down}`));
  const canvasSize = make("div", { class: "canvas-size" }, sides[0], "×", sides[1], "px",
    make("span", { class: "ratios" }, ...ratios));
  const board = make("div", { class: "board takes-picture", tabindex: 0, role: "application",
    "aria-label": kind === "mask" ? "Picture and mask, to be painted on" : "Label map, to be painted on" },
    make("canvas"), make("canvas"));
  const rings = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  rings.setAttribute("aria-hidden", "true");
  board.append(rings);
  const choose = make("button", { type: "button", "data-do": "pick" }, "Choose a picture");
  const how = matchMedia("(pointer: coarse)").matches ? [] : [make("span", {}, "or drop one here, or paste it with Ctrl+V")];
  const empty = make("div", { class: "empty" }, make("strong", {}, "A picture to change"), choose, ...how);
  if (kind === "mask") board.append(empty);
  const note = make("span", { class: "note", role: "status" }), about = make("span", { class: "about" });
  const files = ["picture", "labels"].map((name) =>
    make("input", { type: "file", accept: "image/*", class: `pick-${name}`, hidden: "", tabindex: -1, "aria-hidden": "true" }));
  const foot = make("div", { class: "foot" }, note, about);
  root.replaceChildren(bar, ...kind === "map" ? [search, classes] : [], board, foot,
    ...kind === "map" ? [canvasSize] : [], actions, ...files);
  return { bar, tools, size, shown, actions, search, classes, sides, ratios, board, rings, empty, note, about, files };
}

// The classes as swatches with names; `choose` is called with the number of the one that is pressed.
function showClasses(parts, palette, choose) {
  parts.search.hidden = palette.length <= MANY;
  parts.classes.replaceChildren(...palette.map(([name, colour], i) => {
    const swatch = make("i", { style: `background:${colour}` });
    const button = make("button", { type: "button", "data-class": i, title: name }, swatch, name);
    button.onclick = () => choose(i);
    return button;
  }));
  parts.search.oninput = () => {
    const wanted = parts.search.value.trim().toLowerCase();
    for (const button of parts.classes.children) button.hidden = !button.title.toLowerCase().includes(wanted);
  };
}

// What the tool would do now, over the picture: a brush's ring, a line, a rectangle. In css px.
function showGuide(rings, shape, at, from, radius) {
  const add = (tag, about) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in about) made.setAttribute(name, about[name]);
    rings.append(made);
  };
  rings.replaceChildren();
  if (shape === "line") {
    add("line", { x1: from[0], y1: from[1], x2: at[0], y2: at[1], "stroke-width": Math.max(1, 2 * radius), class: "soft" });
  }
  if (shape === "rectangle") {
    const [x, y] = [0, 1].map((i) => Math.min(at[i], from[i]));
    add("rect", { x, y, width: Math.abs(at[0] - from[0]), height: Math.abs(at[1] - from[1]), class: "soft" });
  }
  if (shape === "ring" || shape === "line") {
    add("circle", { cx: at[0], cy: at[1], r: Math.max(2, radius), class: "ring dark" });
    add("circle", { cx: at[0], cy: at[1], r: Math.max(2, radius), class: "ring" });
  }
}
