// Settings live in the browser and in links; nothing of it is sent to the server.
const JOBS_KEY = "latent-canvas-jobs"; // of this tab of the browser, oldest first
const SHADE_KEY = "latent-canvas-shade";
const MAX_JOBS = 60;

function stored(storage, key, otherwise) {
  try { return JSON.parse(storage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

const latentCanvas = {
  keep(key, names, values) {
    const kept = Object.fromEntries(names.map((name, i) => [name, values[i]]));
    localStorage.setItem(key, JSON.stringify(kept));
    markRatio(kept.width, kept.height);
  },

  // A link wins over what this browser remembers, and that over the page's own defaults.
  recall(key, names, values) {
    const link = Object.fromEntries(new URLSearchParams(location.search));
    const kept = stored(localStorage, key, {});
    const recalled = names.map((name, i) => {
      const value = link[name] ?? kept[name] ?? "";
      if (value === "") return values[i];
      if (typeof values[i] !== "number") return String(value);
      return Number.isFinite(+value) ? +value : values[i];
    });
    // from here on the settings are the visitor's own: a reload must not bring the link's back
    if (names.some((name) => name in link)) history.replaceState(null, "", location.pathname);
    markRatio(recalled[names.indexOf("width")], recalled[names.indexOf("height")]);
    shade(stored(localStorage, SHADE_KEY, null));
    document.body.dataset.ready = "yes";
    return recalled;
  },

  async copyLink(names, values) {
    const url = new URL(location.href);
    url.search = "";
    names.forEach((name, i) => {
      if (values[i] !== null && values[i] !== "") url.searchParams.set(name, values[i]);
    });
    await copyText(url.toString());
    const button = document.querySelector("#link");
    button.dataset.done = "yes";
    setTimeout(() => delete button.dataset.done, 1600);
  },

  jobs() { return JSON.stringify(stored(sessionStorage, JOBS_KEY, [])); },
};
window.latentCanvas = latentCanvas;

async function copyText(text) {
  if (navigator.clipboard) {
    try { await navigator.clipboard.writeText(text); return; } catch { /* not allowed: below */ }
  }
  const box = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(box);
  box.select();
  document.execCommand("copy"); // the only way on a page that is not served over https
  box.remove();
}

// Which of the ratio buttons the size agrees with.
function markRatio(width, height) {
  for (const button of document.querySelectorAll("button.ratio")) {
    const [across, down] = button.textContent.split(":").map(Number);
    button.setAttribute("aria-pressed", width * down === height * across);
  }
}

function shade(name) {
  if (name) document.body.classList.toggle("dark", name === "dark");
}

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-shade]")) return;
  const name = document.body.classList.contains("dark") ? "light" : "dark";
  localStorage.setItem(SHADE_KEY, JSON.stringify(name));
  shade(name);
});

// Ctrl+Enter (or Cmd+Enter) presses the visible Generate button.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = [...document.querySelectorAll("button.generate")].find((b) => b.offsetParent);
  if (button && !button.disabled) { event.preventDefault(); button.click(); }
}, true);

// A picture dropped anywhere on the page goes to "Restore from PNG".
const carriesFile = (event) => event.dataTransfer?.types.includes("Files");
let dropTimer = 0;
document.addEventListener("dragover", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  document.body.dataset.drop = "yes";
  clearTimeout(dropTimer);
  dropTimer = setTimeout(() => delete document.body.dataset.drop, 200);
});
document.addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  const input = document.querySelector("#tools input[type=file]");
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
});

// The strip says which job it shows: remembered, so that a reload finds its pictures again.
function rememberJob() {
  const id = document.querySelector("#strip [data-job]")?.dataset.job;
  const jobs = stored(sessionStorage, JOBS_KEY, []);
  if (!id || jobs.includes(id)) return;
  sessionStorage.setItem(JOBS_KEY, JSON.stringify([...jobs, id].slice(-MAX_JOBS)));
}
new MutationObserver(rememberJob).observe(document, { childList: true, subtree: true });
