// What can be undone: the changed rectangle before and after, as runs; or all of it, where the size or
// the picture changed. Bounded, since people paint for hours.
const HISTORY_BYTES = 200e6, HISTORY_STEPS = 300;

function makeHistory() {
  const undo = [], redo = [];
  const weight = (step) => [step.before, step.after].reduce(
    (sum, part) => sum + (part.runs?.length ?? 0) + (step.whole && part.picture ? 4 * part.width * part.height : 0), 0);
  return {
    push(step) {
      undo.push(step);
      redo.length = 0;
      let bytes = undo.reduce((sum, each) => sum + weight(each), 0);
      while (undo.length > HISTORY_STEPS || (undo.length > 1 && bytes > HISTORY_BYTES)) {
        bytes -= weight(undo.shift());
      }
    },
    back() { const step = undo.pop(); if (step) redo.push(step); return step; },
    forth() { const step = redo.pop(); if (step) undo.push(step); return step; },
    get canUndo() { return undo.length > 0; },
    get canRedo() { return redo.length > 0; },
  };
}

const sameBytes = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
