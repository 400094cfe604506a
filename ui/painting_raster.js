// Class numbers of a picture, one byte per pixel, and what a tool does to them. Nothing here knows
// the page. A rectangle is {x0, y0, x1, y1} in whole px, x1 and y1 outside; null: nothing changed.

const GRID = 8; // a hand's points are rounded to 1/8 px, so that the rule below is exact

function clipped(surface, x0, y0, x1, y1) {
  const box = {
    x0: Math.max(0, Math.floor(x0)), y0: Math.max(0, Math.floor(y0)),
    x1: Math.min(surface.width, Math.ceil(x1)), y1: Math.min(surface.height, Math.ceil(y1)),
  };
  return box.x0 < box.x1 && box.y0 < box.y1 ? box : null;
}

function joined(a, b) {
  if (!a || !b) return a ?? b;
  return {
    x0: Math.min(a.x0, b.x0), y0: Math.min(a.y0, b.y0),
    x1: Math.max(a.x1, b.x1), y1: Math.max(a.y1, b.y1),
  };
}

function paintBox(surface, box, label) {
  if (!box) return null;
  for (let y = box.y0; y < box.y1; y++) {
    surface.labels.fill(label, y * surface.width + box.x0, y * surface.width + box.x1);
  }
  return box;
}

// A pixel is painted if its centre lies within `radius` of the segment from a to b ([x, y] in px).
function paintSegment(surface, a, b, radius, label) {
  const [ax, ay] = a, dx = b[0] - ax, dy = b[1] - ay, length2 = dx * dx + dy * dy;
  const r2 = radius * radius;
  const box = clipped(surface, Math.min(ax, b[0]) - radius, Math.min(ay, b[1]) - radius,
    Math.max(ax, b[0]) + radius, Math.max(ay, b[1]) + radius);
  if (!box) return null;
  for (let y = box.y0; y < box.y1; y++) {
    const py = y + 0.5 - ay, row = y * surface.width;
    // the part of the segment that this row can be near to
    let t0 = 0, t1 = 1;
    if (dy !== 0) {
      const u = (py - radius) / dy, v = (py + radius) / dy;
      t0 = Math.max(0, Math.min(u, v)); t1 = Math.min(1, Math.max(u, v));
    }
    const u = ax + t0 * dx, v = ax + t1 * dx;
    const first = Math.max(box.x0, Math.floor(Math.min(u, v) - radius) - 1);
    const last = Math.min(box.x1, Math.ceil(Math.max(u, v) + radius) + 1);
    for (let x = first; x < last; x++) {
      const px = x + 0.5 - ax, along = px * dx + py * dy;
      let inside;
      if (along <= 0) inside = px * px + py * py <= r2;
      else if (along >= length2) inside = (px - dx) * (px - dx) + (py - dy) * (py - dy) <= r2;
      else { const cross = px * dy - py * dx; inside = cross * cross <= r2 * length2; }
      if (inside) surface.labels[row + x] = label;
    }
  }
  return box;
}

// A pixel is painted if its centre lies in the rectangle with the corners a and b.
function paintRectangle(surface, a, b, label) {
  const [x0, x1] = [a[0], b[0]].sort((p, q) => p - q), [y0, y1] = [a[1], b[1]].sort((p, q) => p - q);
  const near = (edge) => Math.ceil(edge - 0.5); // the first pixel whose centre is not before it
  const box = clipped(surface, near(x0), near(y0), Math.floor(x1 - 0.5) + 1, Math.floor(y1 - 0.5) + 1);
  return paintBox(surface, box, label);
}

// The pixels of one class that are joined to [x, y] by their sides.
function paintFill(surface, x, y, label) {
  const { labels, width, height } = surface;
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  const old = labels[y * width + x];
  if (old === label) return null;
  let box = null;
  const todo = [y * width + x];
  while (todo.length) {
    const at = todo.pop();
    if (labels[at] !== old) continue;
    const row = Math.floor(at / width) * width, line = row / width;
    let left = at, right = at + 1;
    while (left > row && labels[left - 1] === old) left--;
    while (right < row + width && labels[right] === old) right++;
    labels.fill(label, left, right);
    box = joined(box, { x0: left - row, y0: line, x1: right - row, y1: line + 1 });
    for (const step of [-width, width]) {
      if (step < 0 ? line === 0 : line === height - 1) continue;
      let open = false;
      for (let i = left + step; i < right + step; i++) {
        const same = labels[i] === old;
        if (same && !open) todo.push(i);
        open = same;
      }
    }
  }
  return box;
}

function resized(surface, width, height) {
  const places = (side, of) => Uint32Array.from({ length: side }, (_, at) => Math.floor((at + 0.5) * of / side));
  return sampled(surface, places(width, surface.width), places(height, surface.height));
}

// As large as fits, in the middle: a moon stays round. What is at its edges goes on beyond them.
function extended(surface, width, height) {
  const scale = Math.min(width / surface.width, height / surface.height);
  const places = (side, of) => Uint32Array.from({ length: side }, (_, at) =>
    Math.min(of - 1, Math.max(0, Math.floor((at + 0.5 - side / 2) / scale + of / 2))));
  return sampled(surface, places(width, surface.width), places(height, surface.height));
}

function sampled(surface, columns, rows) {
  const width = columns.length, height = rows.length, labels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const row = rows[y] * surface.width;
    for (let x = 0; x < width; x++) labels[y * width + x] = surface.labels[row + columns[x]];
  }
  return { width, height, labels };
}

// Runs: 1 byte of label and 4 of length, little end first, row by row; see ui/labels.py.
const RUN_BYTES = 5;

// Where a run of `label` that goes on at i ends, at most `end`: four labels at a time, since a large
// picture is mostly long runs.
function endOfRun(labels, words, i, end, label) {
  const four = label * 0x01010101;
  while (i < end && i & 3 && labels[i] === label) i++;
  if (!(i & 3)) while (i + 4 <= end && words[i >> 2] === four) i += 4;
  while (i < end && labels[i] === label) i++;
  return i;
}

function runsOf(surface, box) {
  const whole = box.x0 === 0 && box.x1 === surface.width;
  const rows = whole ? 1 : box.y1 - box.y0;
  const span = whole ? (box.y1 - box.y0) * surface.width : box.x1 - box.x0;
  const words = new Uint32Array(surface.labels.buffer, 0, surface.labels.length >> 2);
  let out = new Uint8Array(1024), size = 0;
  let label = surface.labels[box.y0 * surface.width + box.x0], length = 0;
  const end = () => {
    if (size + RUN_BYTES > out.length) {
      const more = new Uint8Array(2 * out.length);
      more.set(out);
      out = more;
    }
    out[size] = label;
    for (let i = 0; i < 4; i++) out[size + 1 + i] = length >>> 8 * i;
    size += RUN_BYTES;
  };
  for (let row = 0; row < rows; row++) {
    const start = (box.y0 + row) * surface.width + box.x0;
    for (let i = start; i < start + span;) {
      const first = i;
      i = endOfRun(surface.labels, words, i, start + span, label);
      length += i - first;
      if (i < start + span) { end(); label = surface.labels[i]; length = 0; }
    }
  }
  end();
  return out.slice(0, size);
}

function putRuns(surface, box, runs) {
  let at = 0, left = 0, label = 0;
  for (let y = box.y0; y < box.y1; y++) {
    for (let x = y * surface.width + box.x0, end = x + box.x1 - box.x0; x < end;) {
      if (!left) {
        label = runs[at];
        left = runs[at + 1] + runs[at + 2] * 2 ** 8 + runs[at + 3] * 2 ** 16 + runs[at + 4] * 2 ** 24;
        if (!left) return;
        at += RUN_BYTES;
      }
      const next = Math.min(end, x + left);
      surface.labels.fill(label, x, next);
      left -= next - x;
      x = next;
    }
  }
}

const wholeOf = (surface) => ({ x0: 0, y0: 0, x1: surface.width, y1: surface.height });

function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode.apply(null, bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function surfaceOf(value) {
  const surface = { width: value.width, height: value.height, labels: new Uint8Array(value.width * value.height) };
  putRuns(surface, wholeOf(surface), fromBase64(value.labels));
  return surface;
}
