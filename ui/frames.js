// Gradio's sign that the page is loading counts its seconds with every frame for ever, after it has
// gone: a tenth of a processor for every open page, which the models then lack. It calls the browser by
// a reference of its own, so that what all others ask for is known from what it asks for.
function endCounting() {
  const next = window.requestAnimationFrame.bind(window), original = window.requestAnimationFrame;
  const known = new Set();
  let last = 0, frames = 4; // what was asked for before this one is over after the first
  window.requestAnimationFrame = (draw) => {
    const id = next(draw);
    known.add(id);
    return id;
  };
  const look = () => {
    const id = frames-- > 0 ? next(look) : 0;
    for (let other = last + 1; last && other < id; other++) if (!known.has(other)) cancelAnimationFrame(other);
    last = id;
    if (!id) window.requestAnimationFrame = original;
  };
  next(() => next(look));
}
