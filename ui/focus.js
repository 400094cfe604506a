// A button may go with what it did: hidden, disabled or drawn anew. Keys and screen readers then go on
// from what is nearest to it, and not from the beginning of the page.
const TAKES_FOCUS = "button, a[href], summary, [tabindex='0']"; // a field would open a list, or a phone's keyboard
const REST_MS = 400; // what is pressed twice, or held down, must not press what takes its place
let way = []; // what has the focus, and all around it, from the inside out
let isByHand = false; // a hand looks elsewhere already, and its next key may scroll
let rest = 0;

const canTake = (one) => one.isConnected && !one.disabled && one.tabIndex >= 0 && one.checkVisibility({ visibilityProperty: true });

function nearest() {
  const [lost, ...around] = way;
  const room = around.find((one) => one.matches("[role=tabpanel]"));
  if (room && !room.checkVisibility()) return document.querySelector("#tabs [role=tab][aria-selected=true]");
  for (const one of around) {
    const all = [...one.querySelectorAll(TAKES_FOCUS)].filter(canTake);
    const before = all.filter((other) => other.compareDocumentPosition(lost) & Node.DOCUMENT_POSITION_FOLLOWING);
    if (all.length) return lost.isConnected && before.length ? before.at(-1) : all[0];
  }
}

function lookAfter() {
  clearTimeout(rest);
  rest = setTimeout(() => {
    const isLost = way.length && document.activeElement === document.body && !canTake(way[0]);
    if (isLost) nearest()?.focus({ preventScroll: true });
  }, REST_MS);
}

addEventListener("pointerdown", () => { isByHand = true; }, true);
addEventListener("keydown", () => { isByHand = false; if (document.activeElement === document.body) lookAfter(); }, true);
document.addEventListener("focusin", ({ target }) => {
  way = [];
  for (let one = target; one && one !== document.body; one = one.parentElement) way.push(one);
});
document.addEventListener("focusout", ({ relatedTarget }) => { if (!relatedTarget && !isByHand) lookAfter(); });
