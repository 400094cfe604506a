// What a mask really changes: grown or shrunk, with a soft edge, as ldm/tasks/inpaint.py does it
// (`hole_of`), pixel for pixel. Nothing here knows the page.

// Of every place of a w x h field of 0 and 1 the squared distance in px to the nearest 1
// (Meijster et al. 2000), far beyond what matters here where there is none.
function squaredDistances(field, w, h) {
  const far = Math.max(w + h, 1000), g = new Int32Array(w * h);
  for (let i = 0; i < w * h; i++) g[i] = field[i] ? 0 : i < w ? far : Math.min(far, g[i - w] + 1);
  for (let i = w * (h - 1) - 1; i >= 0; i--) g[i] = Math.min(g[i], g[i + w] + 1);
  const out = new Float32Array(w * h), site = new Int32Array(w), from = new Int32Array(w);
  for (let row = 0; row < w * h; row += w) {
    const reach = (x, i) => (x - i) * (x - i) + g[row + i] * g[row + i];
    let q = 0;
    site[0] = from[0] = 0;
    for (let u = 1; u < w; u++) {
      while (q >= 0 && reach(from[q], site[q]) > reach(from[q], u)) q--;
      if (q < 0) { q = 0; site[0] = u; from[0] = 0; continue; }
      const i = site[q], gu = g[row + u], gi = g[row + i];
      const start = 1 + Math.floor((u * u - i * i + gu * gu - gi * gi) / (2 * (u - i)));
      if (start < w) { site[++q] = u; from[q] = start; }
    }
    for (let u = w - 1; u >= 0; u--) {
      out[row + u] = reach(u, site[q]);
      if (u === from[q]) q--;
    }
  }
  return out;
}

// The field grown by so many px in every direction, or shrunk if negative, as if it went on beyond
// its sides.
function grownField(field, w, h, grow) {
  if (!grow) return field;
  const start = grow > 0 ? field : field.map((one) => 1 - one);
  const distances = squaredDistances(start, w, h), reach = grow * grow;
  return field.map((_, i) => (distances[i] <= reach) === (grow > 0));
}

// 255 in the field, falling to 0 over `feather` px around it, and never 0 before.
function softField(field, w, h, feather) {
  const soft = new Uint8Array(w * h), reach = (feather + 1) ** 2;
  const distances = squaredDistances(field, w, h);
  for (let i = 0; i < w * h; i++) {
    if (distances[i] < reach) soft[i] = Math.ceil(255 * (1 - Math.sqrt(distances[i] / reach)));
  }
  return soft;
}

// How much of every px is made anew: {x0, y0, width, height, alpha: 0 to 255}, in px of the picture,
// which margins of the canvas lie outside of; null where nothing is. Only where the mask reaches.
function effectOf(surface, margins, { grow, feather, seamless }) {
  const box = markedBox(surface, margins);
  if (!box) return null;
  const [left, top, right, bottom] = margins, reach = Math.abs(grow) + feather + 2;
  const meet = (way) => seamless === way || seamless === "both";
  const across = spanOf(box.x0, box.x1, -left, surface.width + right, reach, meet("across"));
  const down = spanOf(box.y0, box.y1, -top, surface.height + bottom, reach, meet("down"));
  const [w, h] = [across.places.length, down.places.length];
  const field = grownField(fieldOf(surface, across, down), w, h, grow);
  if (grow < 0 && margins.some(Boolean)) { // what is painted shrinks, what was added to the canvas does not
    const bare = fieldOf({ ...surface, labels: new Uint8Array(surface.labels.length) }, across, down);
    for (let i = 0; i < w * h; i++) field[i] |= bare[i];
  }
  return { x0: across.low, y0: down.low, ...partOf(softField(field, w, h, feather), w, across, down) };
}

// The mask at all places of two spans; margins are all mask.
function fieldOf({ labels, width, height }, across, down) {
  const w = across.places.length, field = new Uint8Array(w * down.places.length).fill(1);
  down.places.forEach((y, row) => {
    if (y < 0 || y >= height) return;
    for (let i = 0; i < w; i++) {
      const x = across.places[i];
      if (x >= 0 && x < width) field[row * w + i] = labels[y * width + x];
    }
  });
  return field;
}

// The px of a side of the canvas, [start, end), that a mask in [first, last) reaches: [low, high), and
// `places`, all that they depend on. Ends that meet go on at the opposite one, `before` px ahead of low.
function spanOf(first, last, start, end, reach, meets) {
  const [low, high] = meets ? [start, end] : [Math.max(start, first - reach), Math.min(end, last + reach)];
  const before = meets ? reach : 0, length = end - start;
  const around = (place) => start + ((place - start) % length + length) % length;
  return { low, high, before, places: Array.from({ length: high - low + 2 * before }, (_, i) => around(low - before + i)) };
}

// The part of a field w px wide that lies in two spans.
function partOf(field, w, across, down) {
  const width = across.high - across.low, height = down.high - down.low, alpha = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const from = (y + down.before) * w + across.before;
    alpha.set(field.subarray(from, from + width), y * width);
  }
  return { width, height, alpha };
}

// The smallest box around the mask and the margins.
function markedBox({ labels, width, height }, [left, top, right, bottom]) {
  const box = { x0: left ? -left : width, y0: top ? -top : height, x1: right ? width + right : 0, y1: bottom ? height + bottom : 0 };
  if (left + right) { box.y0 = -top; box.y1 = height + bottom; }
  if (top + bottom) { box.x0 = -left; box.x1 = width + right; }
  for (let y = 0; y < height; y++) {
    const row = labels.subarray(y * width, (y + 1) * width), first = row.indexOf(1);
    if (first < 0) continue;
    box.x0 = Math.min(box.x0, first);
    box.x1 = Math.max(box.x1, row.lastIndexOf(1) + 1);
    box.y0 = Math.min(box.y0, y);
    box.y1 = Math.max(box.y1, y + 1);
  }
  return box.x0 < box.x1 && box.y0 < box.y1 ? box : null;
}
