// The body of a function that is called once with (element, props, trigger, watch, ...), see scripts.py.
// props: classes [[name, colour, address of a thumbnail or null]], any: there is a class for none.
// Names are foreign text: textContent only.
const FEW = 24; // classes that are shown without a search
const SHOWN = 60; // tiles at once; a search finds the others
const ANY = "any";
const $ = (part) => element.querySelector(`[data-part="${part}"]`);
const tiles = $("tiles"), search = $("search");
const classes = () => (Array.isArray(props.classes) ? props.classes : []);
const value = () => String(props.value ?? ANY);

function tile(number, name, colour, thumbnail) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = number === ANY ? "tile any" : "tile";
  button.dataset.value = number;
  button.setAttribute("role", "radio");
  if (number !== ANY) button.append(face(colour, thumbnail));
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  button.append(label);
  return button;
}
function face(colour, thumbnail) {
  const isThere = typeof thumbnail === "string" && new URL(thumbnail, location.href).origin === location.origin;
  const node = document.createElement(isThere ? "img" : "span");
  if (isThere) Object.assign(node, { src: thumbnail, alt: "", loading: "lazy" });
  else { node.className = classes().length > FEW ? "colour low" : "colour"; node.style.background = colour; }
  return node;
}
function draw() {
  const all = classes().map(([name, ...rest], number) => ({ number, name, rest }));
  $("field").hidden = all.length <= FEW;
  tiles.toggleAttribute("data-many", all.length > FEW);
  search.placeholder = `search ${all.length} classes by name or number`;
  const wanted = search.value.trim().toLowerCase();
  const fitting = all.filter(({ number, name }) => !wanted || name.toLowerCase().includes(wanted) || String(number) === wanted);
  const chosen = all.find(({ number }) => String(number) === value());
  let shown = fitting.slice(0, SHOWN);
  if (chosen && !wanted && !shown.includes(chosen)) shown = [chosen, ...shown.slice(1)];
  const nodes = shown.map(({ number, name, rest }) => tile(String(number), all.length > FEW ? `${number} ${name}` : name, ...rest));
  if (props.any && !wanted) nodes.unshift(tile(ANY, all.length ? "Any class" : "This model knows no classes"));
  tiles.replaceChildren(...nodes);
  const more = fitting.length - shown.length;
  const note = $("note");
  note.textContent = all.length && !fitting.length ? "No class of that name." : more > 0 ? `${more} more: search for them.` : "";
  note.hidden = !note.textContent;
  mark();
}
function mark() {
  const all = [...tiles.children];
  const current = all.find((node) => node.dataset.value === value());
  for (const node of all) {
    node.setAttribute("aria-checked", node === current);
    node.tabIndex = node === (current ?? all[0]) ? 0 : -1;
  }
}
const across = () => (classes().length > FEW ? 3 : 4); // tiles in a row, as in classes.css
function choose(node) {
  if (!node) return;
  props.value = node.dataset.value;
  trigger("input");
  mark();
}
tiles.addEventListener("click", (event) => choose(event.target.closest(".tile")));
tiles.addEventListener("keydown", (event) => {
  const all = [...tiles.children], at = all.indexOf(document.activeElement);
  const wide = all[0]?.classList.contains("any") ? 1 : 0; // the first tile takes a row of its own
  const down = at < wide ? 1 : across(), up = wide && at <= across() ? at : across();
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: down, ArrowUp: -up, Home: -at, End: all.length - 1 - at }[event.key];
  if (!step || at < 0) return;
  event.preventDefault();
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  next.focus();
  choose(next);
});
search.addEventListener("input", draw);
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  choose(tiles.children[0]);
});
watch("value", () => [...tiles.children].some((node) => node.dataset.value === value()) ? mark() : draw());
watch(["classes", "any"], draw);
draw();
