// A picture that is dropped on the page, beside the places that take pictures themselves. One that was
// made here goes to "Restore from PNG"; of another one the open tab makes use where it takes one.
const TAKES = ".takes-picture";
const OPENED_MS = 2000; // an accordion that is opened, or a field that is emptied, is drawn anew
const isVisible = (element) => element.offsetParent !== null;
const isDropped = (event) =>
  event.dataTransfer?.types.includes("Files") && !event.target.closest?.(TAKES);
let dropTimer = 0;
document.addEventListener("dragover", (event) => {
  if (!isDropped(event)) return;
  event.preventDefault();
  document.body.dataset.drop = "yes";
  clearTimeout(dropTimer);
  dropTimer = setTimeout(() => delete document.body.dataset.drop, 200);
});
document.addEventListener("drop", (event) => {
  if (!isDropped(event)) return;
  event.preventDefault();
  placePicture(event.dataTransfer.files);
});

async function placePicture(files) {
  const go = [...document.querySelectorAll("button.lc-go")].find(isVisible);
  const room = go?.closest("[role=tabpanel]"), file = [...files].find(({ type }) => type.startsWith("image/"));
  if (!room || !file || await taskOf(file)) return restore(file ? carrying(file).files : files);
  const board = [...room.querySelectorAll(`.board${TAKES}`)].find(isVisible);
  if (board) return board.dispatchEvent(new DragEvent("drop", { dataTransfer: carrying(file) }));
  const input = await emptyField(room);
  if (!input) return restore(files);
  input.files = carrying(file).files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  input.closest(TAKES).scrollIntoView({ block: "center" });
}

function carrying(file) {
  const transfer = new DataTransfer();
  transfer.items.add(file);
  return transfer;
}

// The file input of the field that takes a tab's picture, once the field is open and empty.
async function emptyField(room) {
  const there = () => room.querySelector(`${TAKES} input[type=file]`);
  const fold = [...room.querySelectorAll("[id$='-start'] > button")].find(isVisible);
  if (!there() && fold && !room.querySelector(TAKES)) fold.click();
  if (!there()) room.querySelector(`${TAKES} button[aria-label='Clear'], ${TAKES} button[title='Clear']`)?.click();
  for (const end = Date.now() + OPENED_MS; Date.now() < end && !there();) await new Promise(requestAnimationFrame);
  return there();
}

// A picture of another tab has come, perhaps to a place below the window. Until it is drawn the page is
// shorter; where somebody scrolls meanwhile it stays.
const ARRIVING_MS = 1000;
latentCanvas.arrived = async (task) => {
  const there = () => [...document.querySelectorAll(`#${task}-studio :is(.field-image img, .painter)`)].find(isVisible);
  const held = new AbortController();
  for (const name of ["wheel", "touchstart", "keydown", "pointerdown"]) addEventListener(name, () => held.abort(), { once: true, signal: held.signal });
  for (const end = Date.now() + ARRIVING_MS; Date.now() < end && !held.signal.aborted; await new Promise(requestAnimationFrame)) {
    if (there() && !isInWindow(there().getBoundingClientRect())) there().scrollIntoView({ block: "center", behavior: "instant" });
  }
  held.abort();
};

// A picture that is pasted goes to the open tab's empty place for one, as it does on a canvas.
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData?.files ?? []].find(({ type }) => type.startsWith("image/"));
  const input = [...document.querySelectorAll(".field-image input[type=file]")]
    .find((one) => isVisible(one.closest(".field-image")));
  if (!file || !input || event.target.closest?.("input, textarea, .painter")) return;
  event.preventDefault();
  input.files = carrying(file).files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// Of what is looked for in a folder. Gradio would drop another file, and tell nothing.
document.addEventListener("click", (event) => {
  if (event.target.matches?.(".lc-tools input[type=file]")) event.target.accept = "image/png";
}, true);
function restore(files) {
  const tools = [...document.querySelectorAll(".lc-tools")].find(isVisible);
  const input = tools.querySelector("input[type=file]");
  input.files = files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

// The task of a picture that was made here, from what its PNG says before the pixels.
async function taskOf(file) {
  const start = await file.slice(0, 4096).text();
  return /latent_canvas\0[^]*?"task": "([a-z-]+)"/.exec(start)?.[1];
}
