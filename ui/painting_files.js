// Pictures in, masks and maps in and out, and what this window remembers.

async function bitmapOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const share = PROXY_SIDE / Math.max(bitmap.width, bitmap.height);
  if (share >= 1) return { bitmap, proxy: null };
  const side = (length) => Math.max(1, Math.round(length * share));
  const options = { resizeWidth: side(bitmap.width), resizeHeight: side(bitmap.height), resizeQuality: "medium" };
  return { bitmap, proxy: await createImageBitmap(bitmap, options) };
}

// A file of the server's cache as a picture: {file, blob, bitmap, proxy}.
async function fetchPicture(file) {
  const answer = await fetch(file.url);
  if (!answer.ok) throw new Error(`the picture is not there (${answer.status})`);
  const blob = await answer.blob();
  return { file, blob, ...await bitmapOf(blob) };
}

// What the server made of an uploaded file; an {error} is a sentence for the person.
async function ask(name, file, more = {}) {
  const sent = await upload(file);
  const answer = await server[name]({ path: sent.path, ...more });
  if (!answer || answer.detail) throw new Error("no answer");
  if (answer.file) answer.file.url = sent.url.slice(0, sent.url.indexOf("/file=") + 6) + answer.file.path;
  return answer;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = n & 1 ? 0xedb88320 ^ n >>> 1 : n >>> 1;
  return n;
});

function pngChunk(name, data) {
  const chunk = new Uint8Array(data.length + 12), numbers = new DataView(chunk.buffer);
  numbers.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) chunk[4 + i] = name.charCodeAt(i);
  chunk.set(data, 8);
  let crc = ~0;
  for (let i = 4; i < data.length + 8; i++) crc = CRC[(crc ^ chunk[i]) & 255] ^ crc >>> 8;
  numbers.setUint32(data.length + 8, ~crc);
  return chunk;
}

// A mask as black and white; a map as a palette picture whose indices are the class numbers.
async function pngOf(surface, kind, palette) {
  const { width, height, labels } = surface;
  const raw = new Uint8Array((width + 1) * height); // every row begins with its filter: 0, none
  for (let y = 0; y < height; y++) {
    const row = labels.subarray(y * width, (y + 1) * width);
    raw.set(kind === "mask" ? row.map((label) => 255 * label) : row, y * (width + 1) + 1);
  }
  const packed = new Blob([raw]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const header = new Uint8Array(13), numbers = new DataView(header.buffer);
  numbers.setUint32(0, width);
  numbers.setUint32(4, height);
  header.set([8, kind === "mask" ? 0 : 3, 0, 0, 0], 8);
  const colours = Array.from({ length: 256 }, (_, i) => palette[i]?.[1] ?? madeColour(i));
  const plte = Uint8Array.from(colours.flatMap((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16))));
  const start = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  const parts = [start, pngChunk("IHDR", header)];
  if (kind === "map") parts.push(pngChunk("PLTE", plte));
  return new Blob([...parts, pngChunk("IDAT", data), pngChunk("IEND", new Uint8Array(0))], { type: "image/png" });
}

function saveFile(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Kept in this browser, so that a reload loses nothing; where that is not allowed, nothing is kept. Every
// window has its own, and a new one begins with the newest.
const WINDOWS = 8; // whose paintings are kept

function memory(mode, work) { // `work` gives the request whose result is wanted
  return new Promise((resolve) => {
    const opening = indexedDB.open("latent-canvas", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("paintings");
    opening.onerror = () => resolve(undefined);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction("paintings", mode);
      const asked = work(transaction.objectStore("paintings"));
      transaction.oncomplete = () => { opening.result.close(); resolve(asked.result); };
      transaction.onerror = transaction.onabort = () => { opening.result.close(); resolve(undefined); };
    };
  }).catch(() => undefined); // not even asking is allowed
}

const windowsKey = (store) => `${store}-windows`; // of those that keep something, the newest first
const partKey = (store, part, whose) => `${store}-${part}-${whose}`;
const PARTS = ["painting", "picture"];

// Keeps `parts`, of a painting and its picture, for this window.
function keepParts(store, parts) {
  const mine = window.latentCanvas.window;
  return memory("readwrite", (shelf) => {
    for (const part in parts) shelf.put(parts[part], partKey(store, part, mine));
    const asked = shelf.get(windowsKey(store));
    asked.onsuccess = () => {
      const windows = [mine, ...(asked.result ?? []).filter((other) => other !== mine)];
      for (const gone of windows.splice(WINDOWS)) for (const part of PARTS) shelf.delete(partKey(store, part, gone));
      shelf.put(windows, windowsKey(store));
    };
    return asked;
  });
}

// What this window kept, or the newest of any other: [painting, picture].
async function keptParts(store) {
  const get = (key) => memory("readonly", (shelf) => shelf.get(key));
  const windows = await get(windowsKey(store)) ?? [], mine = window.latentCanvas.window;
  const whose = windows.includes(mine) ? mine : windows[0];
  return Promise.all(PARTS.map((part) => get(partKey(store, part, whose))));
}

function carried(transfer) { // a picture that is dropped or pasted
  return [...transfer?.files ?? []].find((file) => file.type.startsWith("image/") || /\.\w+$/.test(file.name));
}
