// Spares Gradio what it does over and over for nothing, on a page of hundreds of parts and events. It
// runs before Gradio's own scripts; a Gradio that no longer does these things does not mind.
{
  const { dependencies = [], components = [] } = window.gradio_config ?? {};
  const startedBy = new Map(components.map(({ id }) => [id, []])); // id of a part -> events
  const unwatched = {};
  const answer = (list, method, value) =>
    Object.defineProperty(list, method, { configurable: true, value: () => value });
  const walkOnce = (event, targets) => {
    const list = [...targets];
    answer(list, "map", []);
    const value = () => {
      answer(list, Symbol.iterator, [].values());
      event.unwalked = null;
      return targets.values();
    };
    return Object.defineProperty(list, Symbol.iterator, { configurable: true, value });
  };
  for (const event of dependencies) {
    const { targets } = event;
    for (const id of new Set(targets.map(([id]) => id))) startedBy.get(id)?.push(event);
    // Each part looks through all events, and Svelte watches every look at a plain object: a third of
    // the time in which the page opens. Events never change.
    Object.setPrototypeOf(event, unwatched);
    // Once an event has ended, each of its inputs is told so at every later event of the page and
    // every message of it, as if it were sending a stream. This is how it is asked whether one is.
    if (event.connection !== "stream") answer(event.inputs, "includes", false);
    // Before an event, all values of each part that can start it are copied, to restore what it has
    // set for itself meanwhile. When the page opens this happens for all events, twice: a sixth of
    // that time. Few kinds of events set anything. That walk through a list of parts is its second
    // one; the first finds out which part starts what.
    if (event.event_specific_args?.length) continue;
    const get = () => (event.unwalked ??= walkOnce(event, targets));
    Object.defineProperty(event, "targets", { enumerable: true, get });
  }
  // Each part asks which events it starts, and walks through the targets of all: a sixth of that time,
  // too. It asks with a test for its own id, and most parts ask in the order in which they are listed.
  const ids = [...startedBy.keys()];
  const testIn = (isWanted) => {
    let isPart = null;
    try { isWanted({ targets: { find: (test) => { isPart = test; } } }); } catch { return null; }
    return isPart;
  };
  let next = 0;
  const quick = (events) => Object.defineProperty(events, "filter", { configurable: true, value: filter });
  function filter(isWanted) {
    const isPart = testIn(isWanted);
    if (!isPart) return quick(Array.prototype.filter.call(this, isWanted)); // the events of one page
    const steps = ids.findIndex((_, step) => isPart([ids[(next + step) % ids.length]]));
    if (steps < 0) return [];
    const part = ids[(next + steps) % ids.length];
    next += steps + 1;
    return startedBy.get(part);
  }
  quick(dependencies);
}
// The sign that the page loads measures its time frame by frame, and goes on when it is gone, for as
// long as the page is open: a tenth of a core that the model beside it needs.
{
  const SIGN = ".main > [data-testid=status-tracker]", draw = window.requestAnimationFrame;
  let isThere = false, isOver = false;
  window.requestAnimationFrame = (callback) => {
    if (isOver || !String(callback).includes("performance.now()")) return draw(callback);
    const wasThere = isThere;
    isThere = Boolean(document.querySelector(SIGN));
    isOver = wasThere && !isThere;
    return isOver ? 0 : draw(callback);
  };
}
