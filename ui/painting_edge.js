// What a mask really changes: grown or shrunk, with a soft edge, as ldm/tasks/inpaint.py does it
// (`changed`, `feathered`), pixel for pixel. Nothing here knows the page.

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

// Of every place the distance in px to the nearest 1 of its own row, at most 255.
function distancesInRow(field, w, h) {
  const near = new Uint8Array(w * h).fill(255);
  for (let row = 0; row < w * h; row += w) {
    for (let x = 0, d = 255; x < w; x++) near[row + x] = d = field[row + x] ? 0 : Math.min(255, d + 1);
    for (let x = w - 1, d = 255; x >= 0; x--) {
      d = field[row + x] ? 0 : Math.min(255, d + 1);
      if (d < near[row + x]) near[row + x] = d;
    }
  }
  return near;
}

// The field grown by OpenCV's disc of so many px, or shrunk by it if negative: shrinking is growing
// what lies around, but for what lies beyond the picture.
function grownField(field, w, h, grow) {
  if (!grow) return field;
  const flipped = (one) => 1 - one, radius = Math.abs(grow);
  const near = distancesInRow(grow > 0 ? field : field.map(flipped), w, h), out = new Uint8Array(w * h);
  for (let dy = -radius; dy <= radius; dy++) {
    const half = Math.round(Math.sqrt(radius * radius - dy * dy)), shift = dy * w;
    const end = Math.min(w * h, w * h - shift);
    for (let i = Math.max(0, -shift); i < end; i++) if (near[i + shift] <= half) out[i] = 1;
  }
  return grow > 0 ? out : out.map(flipped);
}

// 255 in the field, falling to 0 over `feather` px around it.
function softField(field, w, h, feather) {
  const soft = new Uint8Array(w * h), reach = (feather + 1) ** 2;
  const distances = squaredDistances(field, w, h);
  for (let i = 0; i < w * h; i++) {
    if (distances[i] < reach) soft[i] = 255 * (1 - Math.sqrt(distances[i] / reach));
  }
  return soft;
}

// How much of every px is made anew: {x0, y0, width, height, alpha: 0 to 255}, in px of the picture,
// which margins of the canvas lie outside of; null where nothing is. Only where the mask reaches.
function effectOf(surface, margins, grow, feather) {
  const box = markedBox(surface, margins);
  if (!box) return null;
  const [left, top, right, bottom] = margins, reach = Math.max(0, grow) + feather + 2;
  const x0 = Math.max(-left, box.x0 - reach), y0 = Math.max(-top, box.y0 - reach);
  const x1 = Math.min(surface.width + right, box.x1 + reach), y1 = Math.min(surface.height + bottom, box.y1 + reach);
  const w = x1 - x0, h = y1 - y0, field = new Uint8Array(w * h).fill(1); // margins are all mask
  for (let y = Math.max(0, y0); y < Math.min(surface.height, y1); y++) {
    const from = Math.max(0, x0), to = Math.min(surface.width, x1), row = y * surface.width;
    if (from < to) field.set(surface.labels.subarray(row + from, row + to), (y - y0) * w + from - x0);
  }
  const alpha = softField(grownField(field, w, h, grow), w, h, feather);
  return { x0, y0, width: w, height: h, alpha };
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
