// What stands beside Generate is of the settings as they were: it is dimmed while a new estimate is
// on its way, and words that were changed are not told to be unknown.
const estimateOf = (task) => document.querySelector(`#${task}-estimate`);
const wordsOf = (task) => document.querySelector(`#${task}-prompt textarea`)?.value;
const estimated = {}, asked = {}; // task -> the words that the estimate is of, and the next one
const keptWords = {}; // task -> the words that were there last

function markWordsChanged(task) {
  estimateOf(task)?.toggleAttribute("data-other-words", wordsOf(task) !== estimated[task]);
}
// Gradio passes the values through here to the server, and calls `estimated` at the end.
latentCanvas.estimating = (task, values) => {
  estimateOf(task)?.toggleAttribute("data-stale", true);
  asked[task] = wordsOf(task);
  return values;
};
latentCanvas.estimated = (task) => {
  estimated[task] = asked[task];
  estimateOf(task)?.toggleAttribute("data-stale", false);
  markWordsChanged(task);
};

// Why a run did not begin is said under the picture, too; once is enough.
function markTold() {
  for (const refused of document.querySelectorAll(".lc-estimate .refused")) {
    const strip = refused.closest(".lc-studio")?.querySelector(".strip.failed");
    const isTold = strip?.querySelector(".what").textContent === refused.textContent;
    if (strip && isTold !== strip.hasAttribute("data-twice")) strip.toggleAttribute("data-twice", isTold);
    // the button makes room for it where both stick to the end of the window, see ui/style.css
    const left = refused.closest(".lc-left"), height = `${refused.closest("[id$='-estimate']").offsetHeight}px`;
    if (left.style.getPropertyValue("--refusal") !== height) left.style.setProperty("--refusal", height);
  }
}

document.addEventListener("lc-kept", ({ detail: { task, kept } }) => {
  const { prompt } = kept, before = keptWords[task];
  keptWords[task] = prompt;
  if (prompt === undefined || prompt === before) return;
  markWordsChanged(task);
  // it was clicked or filled in: an estimate follows when the box is left, and nobody is in it
  const box = document.querySelector(`#${task}-prompt textarea`);
  if (before !== undefined && box && box !== document.activeElement) box.dispatchEvent(new Event("blur"));
});
