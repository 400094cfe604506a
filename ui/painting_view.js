// What is seen of a surface: scaled, moved, drawn straight from the class numbers. Only what changed
// is drawn again. A picture's px (x, y) is at css px (view.x + x * view.scale, view.y + y * view.scale).

const PROXY_SIDE = 2048; // a large picture is drawn from a smaller copy while it is small on the page
const ROOM = 10; // css px around a picture that is seen whole: strokes may begin beside it
const HATCH = 6; // px of a mask's stripes on the screen

function rgba(colour, alpha) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return (alpha << 24 | b << 16 | g << 8 | r) >>> 0;
}

function makeView(board, kind) {
  const [under, over] = board.querySelectorAll("canvas");
  const view = { x: 0, y: 0, scale: 1, fitted: true, margins: [0, 0, 0, 0], width: 0, height: 0, ratio: 1 };
  let surface = null, picture = null, colours = new Uint32Array(256);
  let effect = null, timer = 0, took = 0; // what comes of a mask, and how long that takes
  let edge = { grow: 0, feather: 0, seamless: "no" }; // px of its edge, and which edges of the canvas meet

  const worldBox = () => {
    const [left, top, right, bottom] = view.margins;
    return { x0: -left, y0: -top, x1: surface.width + right, y1: surface.height + bottom };
  };

  view.show = (newSurface, newPicture) => { surface = newSurface; picture = newPicture; effect = null; effectSoon(); };
  view.soften = (newEdge) => { edge = newEdge; effectSoon(); };
  view.effect = () => kind === "mask" && surface ? effectOf(surface, view.margins, edge) : null;
  // Large ones wait for the hand to rest: it must never wait for them.
  function effectSoon() {
    if (kind !== "mask") return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const begin = performance.now();
      effect = edge.grow || edge.feather ? view.effect() : null;
      took = performance.now() - begin;
      view.drawAll();
      board.parentElement.dataset.edge = Object.values(edge).join(" "); // it is to be seen now
    }, Math.min(500, 3 * took));
  }
  view.paint = (palette) => {
    colours = new Uint32Array(256).map((_, i) => rgba(palette[i] ? palette[i][1] : madeColour(i), 255));
  };
  view.toPicture = (event) => {
    const box = board.getBoundingClientRect();
    const on = (css, origin) => Math.round((css - origin) / view.scale * GRID) / GRID;
    return [on(event.clientX - box.left - board.clientLeft, view.x), on(event.clientY - box.top - board.clientTop, view.y)];
  };

  view.fit = () => {
    const box = worldBox(), w = box.x1 - box.x0, h = box.y1 - box.y0;
    const [width, height] = [view.width, view.height].map((side) => Math.max(1, side - 2 * ROOM));
    view.scale = Math.min(width / w, height / h);
    view.x = (view.width - w * view.scale) / 2 - box.x0 * view.scale;
    view.y = (view.height - h * view.scale) / 2 - box.y0 * view.scale;
    view.fitted = true;
  };
  // Zoom by a factor; the point [css x, css y] of the board stays where it is.
  view.zoom = (factor, point) => {
    const fit = Math.min(view.width / surface.width, view.height / surface.height);
    const scale = Math.min(32, Math.max(fit / 2, view.scale * factor));
    const [cx, cy] = point ?? [view.width / 2, view.height / 2];
    view.x = cx - (cx - view.x) * scale / view.scale;
    view.y = cy - (cy - view.y) * scale / view.scale;
    view.scale = scale;
    view.fitted = false;
  };
  view.pan = (dx, dy) => { view.x += dx; view.y += dy; view.fitted = false; };

  view.resize = () => {
    view.width = board.clientWidth;
    view.height = board.clientHeight;
    view.ratio = window.devicePixelRatio || 1;
    for (const canvas of [under, over]) {
      canvas.width = Math.max(1, Math.round(view.width * view.ratio));
      canvas.height = Math.max(1, Math.round(view.height * view.ratio));
    }
    if (surface && view.fitted) view.fit();
  };

  view.drawAll = () => {
    if (!surface || !view.width) return;
    drawPicture();
    drawLabels(0, 0, over.width, over.height);
  };

  view.draw = (box) => { // of the picture; null: nothing changed
    if (!box || !view.width) return;
    const k = view.scale * view.ratio, ox = view.x * view.ratio, oy = view.y * view.ratio;
    const x0 = Math.max(0, Math.floor(ox + box.x0 * k) - 2), y0 = Math.max(0, Math.floor(oy + box.y0 * k) - 2);
    const x1 = Math.min(over.width, Math.ceil(ox + box.x1 * k) + 2);
    const y1 = Math.min(over.height, Math.ceil(oy + box.y1 * k) + 2);
    if (x0 < x1 && y0 < y1) drawLabels(x0, y0, x1, y1);
    effectSoon();
  };

  function drawPicture() {
    const paper = under.getContext("2d");
    paper.setTransform(1, 0, 0, 1, 0, 0);
    paper.clearRect(0, 0, under.width, under.height);
    if (!picture) return;
    const k = view.scale * view.ratio;
    paper.imageSmoothingEnabled = view.fitted || k < 4; // close up, pixels are seen as they are
    paper.imageSmoothingQuality = "high";
    const source = picture.proxy && k * surface.width <= picture.proxy.width ? picture.proxy : picture.bitmap;
    paper.drawImage(source, view.x * view.ratio, view.y * view.ratio, surface.width * k, surface.height * k);
  }

  // Pixels [X0, X1) x [Y0, Y1) of the screen, each of the class at its centre.
  function drawLabels(X0, Y0, X1, Y1) {
    const paper = over.getContext("2d"), w = X1 - X0, h = Y1 - Y0;
    const image = paper.createImageData(w, h), out = new Uint32Array(image.data.buffer);
    const k = view.scale * view.ratio, ox = view.x * view.ratio, oy = view.y * view.ratio;
    const columns = new Int32Array(w + 2);
    for (let i = 0; i < w + 2; i++) columns[i] = Math.floor((X0 + i - 1 + 0.5 - ox) / k);
    const row = (Y) => Math.floor((Y + 0.5 - oy) / k);
    const world = worldBox(), drawn = { colours, columns, surface, world, effect, X0, w };
    for (let Y = Y0; Y < Y1; Y++) {
      const line = kind === "map" ? mapLine : maskLine;
      line(drawn, out, (Y - Y0) * w, Y, row(Y), row(Y - 1), row(Y + 1));
    }
    paper.putImageData(image, X0, Y0);
  }
  return view;
}

function mapLine({ colours, columns, surface, w }, out, at, Y, y) {
  if (y < 0 || y >= surface.height) return;
  const start = y * surface.width;
  for (let i = 0; i < w; i++) {
    const x = columns[i + 1];
    if (x >= 0 && x < surface.width) out[at + i] = colours[surface.labels[start + x]];
  }
}

// A mask is seen on any picture by its stripes and its edge; what grows the canvas is all mask. Where
// it is grown or soft, what really changes is a tint that ends in a dotted line; what is shrunk away
// keeps faint stripes.
function maskLine({ colours, columns, surface, world, effect, X0, w }, out, at, Y, y, above, below) {
  const { labels, width, height } = surface;
  const ink = colours[1] & 0xffffff, edge = ink | 0xff000000, shade = (alpha) => (ink | alpha << 24) >>> 0;
  const marked = (x, line) => {
    if (line >= 0 && line < height && x >= 0 && x < width) return labels[line * width + x];
    return line >= world.y0 && line < world.y1 && x >= world.x0 && x < world.x1 ? 1 : 0;
  };
  const changed = (x, line) => {
    if (!effect) return 255 * marked(x, line);
    const [column, row] = [x - effect.x0, line - effect.y0];
    const inside = column >= 0 && column < effect.width && row >= 0 && row < effect.height;
    return inside ? effect.alpha[row * effect.width + column] : 0;
  };
  const enclosed = (test, i) => test(columns[i], y) && test(columns[i + 2], y) && test(columns[i + 1], above) && test(columns[i + 1], below);
  for (let i = 0; i < w; i++) {
    const x = columns[i + 1], share = changed(x, y) / 255, slant = (X0 + i + Y) % (2 * HATCH) < HATCH;
    if (marked(x, y)) out[at + i] = enclosed(marked, i) ? shade((slant ? 0x59 : 0x8c) * (0.3 + 0.7 * share)) : edge;
    else if (share) out[at + i] = enclosed(changed, i) ? shade(0x24 + 0x60 * share) : shade(slant ? 0xe0 : 0x24);
  }
}

// A colour for a class that has none, far from its neighbours'.
function madeColour(i) {
  const hue = (i * 137.508) % 360, light = 0.42 + 0.2 * (i % 3);
  const f = (n) => {
    const k = (n + hue / 30) % 12;
    const value = light - 0.55 * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, "0");
  };
  return `#${f(0)}${f(8)}${f(4)}`;
}
