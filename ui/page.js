// Settings live in the browser and in links; nothing of it is sent to the server.
const latentCanvas = {
  keep(key, names, values) {
    const kept = Object.fromEntries(names.map((name, i) => [name, values[i]]));
    localStorage.setItem(key, JSON.stringify(kept));
  },

  // A link wins over what this browser remembers, and that over the page's own defaults.
  recall(key, names, values) {
    let kept = {};
    try { kept = JSON.parse(localStorage.getItem(key)) || {}; } catch { /* damaged: start anew */ }
    document.body.dataset.ready = "yes";
    const link = Object.fromEntries(new URLSearchParams(location.search));
    return names.map((name, i) => {
      const value = link[name] ?? kept[name] ?? "";
      if (value === "") return values[i];
      if (typeof values[i] !== "number") return String(value);
      return Number.isFinite(+value) ? +value : values[i];
    });
  },

  copyLink(names, values) {
    const url = new URL(location.href);
    url.search = "";
    names.forEach((name, i) => {
      if (values[i] !== null && values[i] !== "") url.searchParams.set(name, values[i]);
    });
    history.replaceState(null, "", url);
    navigator.clipboard?.writeText(url.toString());
  },
};
window.latentCanvas = latentCanvas;

// Ctrl+Enter (or Cmd+Enter) presses the visible Generate button.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = [...document.querySelectorAll("button.generate")].find((b) => b.offsetParent);
  if (button && !button.disabled) { event.preventDefault(); button.click(); }
});
