// Two pictures laid on each other. A range input lies over them, never seen: it brings dragging, the
// keys and what is read aloud.
const laid = element.querySelector(".laid");

function add(tag, about, ...inside) {
  const made = document.createElement(tag);
  for (const name in about) made.setAttribute(name, about[name]);
  made.append(...inside);
  return made;
}

let turn = 0; // of what is shown; pictures that come late are not
let isSeen = false; // whether there is one on the screen now
new ResizeObserver(() => { isSeen = laid.clientHeight > 0; }).observe(laid);

// Until both can be drawn, what was on the screen stays: the pictures from before, or the wall.
async function show() {
  const pair = props.value, now = ++turn;
  if (!pair) laid.replaceChildren();
  laid.toggleAttribute("data-loading", Boolean(pair) && !isSeen);
  if (!pair) return;
  const [first, second] = pair.names;
  const before = add("img", { class: "before", src: pair.before.url, alt: first, draggable: "false" });
  const after = add("img", { class: "after", src: pair.after.url, alt: second, draggable: "false" });
  await Promise.allSettled([before.decode(), after.decode()]);
  if (now === turn) lay(pair, before, after);
}

function lay(pair, before, after) {
  const [first, second] = pair.names;
  laid.style.setProperty("--ratio", after.naturalWidth / after.naturalHeight || 1);
  const label = `${first} on the left, ${second.toLowerCase()} on the right`;
  const range = add("input", { type: "range", min: 0, max: 100, step: 1, value: pair.at ?? 50, "aria-label": label });
  range.oninput = () => {
    laid.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % ${first.toLowerCase()}`);
  };
  const save = add("a", { class: "save", href: pair.after.url, download: pair.after.orig_name, title: "Download", "aria-label": "Download" }, "\u2913");
  laid.replaceChildren(after, before, add("span", { class: "name first", "aria-hidden": "true" }, first),
    add("span", { class: "name second", "aria-hidden": "true" }, second), add("i", { class: "bar" }), range, save);
  range.oninput();
  laid.removeAttribute("data-loading");
}
watch("value", show);
show();
