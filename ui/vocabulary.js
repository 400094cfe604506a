// The words of a model beside its prompt: a click adds one at the end, another takes it out again.
const WORDS = ".lc-vocabulary";
const JOINED = /^(at|in|by|on) /; // "a lake at noon", but "a lake, fog"

// what may join a word to those before it, and goes with it
const BEFORE = "(?:^|[,\\s]+)(?:(?:and|with|in|on|by|near|under)\\s+)?(?:(?:the|an?)\\s+)?";

const promptOf = (part) => part.closest(".lc-words")?.querySelector(".field-prompt textarea");
const patternOf = (word) => `${word.replace(/[^\w ]/g, "\\$&").replace(/ /g, "\\s+")}(?![\\w'’-])`;
// the word by itself, with what joins it
const written = (word) => new RegExp(`${BEFORE}${patternOf(word)}`, "gi");

// Times of day are groups in which every word is joined so: of these, one takes another's place.
function rivalOf(button, text) {
  const group = [...button.parentElement.querySelectorAll("button")];
  if (!group.every((one) => JOINED.test(one.textContent))) return null;
  return group.map((one) => one.textContent).find((other) => written(other).test(text));
}

function toggleWord(text, word, rival) {
  const without = text.replace(written(word), "");
  if (without !== text) return without.replace(/^[\s,]+/, "");
  if (rival) return text.replace(new RegExp(`\\b${patternOf(rival)}`, "i"), word);
  const before = text.replace(/[\s,]+$/, "");
  return before + (before && (JOINED.test(word) || /[.;:!?]$/.test(before) ? " " : ", ")) + word;
}
function markWords(words, text) {
  for (const button of words.querySelectorAll("button")) button.setAttribute("aria-pressed", written(button.textContent).test(text));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.(`${WORDS} button`);
  if (!button) return;
  const prompt = promptOf(button);
  type(prompt, toggleWord(prompt.value, button.textContent, rivalOf(button, prompt.value)));
  button.focus({ preventScroll: true }); // so that the prompt is left, as after typing
});

// As if it was typed: only so can Ctrl+Z take it back. On a phone the keyboard would come up.
function type(prompt, text) {
  if (matchMedia("(pointer: fine)").matches) {
    prompt.focus({ preventScroll: true });
    prompt.select();
    if (document.execCommand(text ? "insertText" : "delete", false, text)) return;
  }
  prompt.value = text;
  prompt.dispatchEvent(new Event("input", { bubbles: true })); // Gradio takes it as typed
  prompt.dispatchEvent(new Event("blur")); // and as left
}
// it was typed, clicked or filled in
document.addEventListener("lc-kept", ({ detail: { task, kept } }) => {
  const words = document.querySelector(`#${task}-vocabulary`);
  if (words) markWords(words, kept.prompt ?? "");
});
document.addEventListener("toggle", ({ target }) => {
  if (target.closest?.(WORDS)) markWords(target, promptOf(target).value);
}, true);
